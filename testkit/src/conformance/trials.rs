//! The lists of trials, and the macros that make a test of each.

/// Makes one test of each trial every source has to pass; `$suite` is a function that
/// returns the [`SourceSuite`](crate::conformance::SourceSuite).
#[macro_export]
macro_rules! source_trials {
    ($suite:path) => {
        $crate::trials!($suite;
            spec::spec_is_one_line_and_offers_a_form
            spec::spec_keeps_to_what_platforms_can_show
            spec::config_of_the_trials_fits_the_spec
            spec::a_wrong_command_line_ends_with_code_2_and_an_empty_stdout
            configs::check_succeeds
            configs::check_answers_failed_to_a_file_that_is_no_config
            configs::a_file_that_is_no_config_fails_every_other_command_once
            configs::a_value_of_the_wrong_type_is_named_by_its_path_and_not_repeated
            configs::a_missing_key_is_named
            configs::an_unknown_config_key_only_warns
            configs::flags_come_in_any_order
            schema::discover_keeps_to_what_platforms_can_use
            schema::discover_says_the_same_twice
            schema::every_record_fits_its_schema
            reading::every_stream_is_started_running_and_complete
            reading::states_account_for_every_record
            reading::only_selected_fields_are_sent
            reading::a_field_that_the_source_no_longer_has_is_no_failure
            reading::one_stream_of_many_can_be_read
            reading::peak_memory_stays_below_64_mib
            catalogs::a_file_that_is_no_catalog_is_an_error
            catalogs::an_unknown_sync_mode_is_an_error
            catalogs::an_unknown_destination_sync_mode_is_an_error
            catalogs::an_unknown_cursor_field_is_an_error_that_names_it
            catalogs::how_the_destination_writes_is_none_of_a_sources_business
            catalogs::the_same_stream_twice_is_an_error_that_names_it
            catalogs::an_unknown_stream_is_an_error_that_names_it
            catalogs::explicit_nulls_and_unknown_keys_are_accepted
            states::every_shape_of_no_state_starts_from_the_beginning
            states::a_file_that_is_no_state_is_an_error
            states::the_state_of_another_connector_is_an_error_that_says_so
            states::reading_again_with_the_final_state_adds_nothing_false
            states::a_read_resumed_from_any_state_loses_no_row
            stopping::sigterm_ends_a_read_soon_with_a_state_and_a_whole_line
            stopping::a_read_that_was_stopped_goes_on_without_losing_a_row
            stopping::a_reader_that_leaves_ends_a_read_quietly
            stopping::a_reader_that_leaves_ends_the_short_commands_quietly
        );
    };
}

/// Makes one test of each trial every destination has to pass; `$suite` is a function that
/// returns the [`DestinationSuite`](crate::conformance::DestinationSuite).
#[macro_export]
macro_rules! destination_trials {
    ($suite:path) => {
        $crate::trials!($suite;
            spec::spec_is_one_line_and_offers_a_form
            spec::spec_keeps_to_what_platforms_can_show
            spec::config_of_the_trials_fits_the_spec
            spec::a_wrong_command_line_ends_with_code_2_and_an_empty_stdout
            configs::check_succeeds
            configs::check_answers_failed_to_a_file_that_is_no_config
            configs::a_file_that_is_no_config_fails_every_other_command_once
            configs::a_value_of_the_wrong_type_is_named_by_its_path_and_not_repeated
            configs::a_missing_key_is_named
            configs::an_unknown_config_key_only_warns
            configs::flags_come_in_any_order
            catalogs::a_file_that_is_no_catalog_is_an_error
            catalogs::an_unknown_sync_mode_is_an_error
            catalogs::an_unknown_destination_sync_mode_is_an_error
            catalogs::an_unknown_cursor_field_is_an_error_that_names_it
            catalogs::deduplication_without_a_key_is_an_error_that_names_the_stream
            catalogs::the_same_stream_twice_is_an_error_that_names_it
            catalogs::explicit_nulls_and_unknown_keys_are_accepted
            destination::states_are_echoed_in_order_with_counts_and_digests
            destination::a_state_is_echoed_with_every_unknown_key_as_it_came
            destination::messages_full_of_nulls_and_a_global_state_are_understood
            destination::a_global_state_waits_for_every_stream
            destination::nothing_but_states_logs_and_traces_is_written_to_stdout
            modes::the_spec_offers_at_least_one_sync_mode
            modes::append_adds_to_what_is_there
            modes::overwrite_replaces_what_is_there
            modes::deduplication_keeps_the_latest_row_of_each_key
            modes::a_mode_that_the_spec_does_not_offer_is_refused
            modes::the_end_of_input_without_any_status_completes_every_stream
            modes::statuses_without_complete_keep_the_old_rows
            modes::a_truncating_refresh_replaces_earlier_generations_once_complete
            modes::a_kill_in_the_middle_leaves_the_old_rows
            intake::logs_traces_and_unknown_kinds_are_tolerated
            intake::records_with_unknown_fields_or_streams_do_no_harm
            intake::a_record_of_one_megabyte_arrives_whole
            intake::whole_numbers_and_decimals_keep_every_digit
            intake::a_value_of_the_wrong_type_becomes_null_and_is_noted
            intake::text_of_every_kind_arrives_unchanged
            intake::a_line_of_garbage_is_tolerated_or_named
            intake::half_a_record_at_the_end_is_an_error_and_its_state_is_never_echoed
            intake::sigterm_makes_what_was_taken_durable_and_echoes_it
            intake::a_platform_that_leaves_ends_a_write_quietly
            intake::an_empty_input_is_a_sync_of_nothing
            stopping::a_reader_that_leaves_ends_the_short_commands_quietly
        );
    };
}

/// Further trials for destinations that write files below a folder.
#[macro_export]
macro_rules! file_trials {
    ($suite:path) => {
        $crate::trials!($suite;
            intake::hostile_stream_names_stay_inside_and_apart
        );
    };
}

/// What the macros above have in common.
#[doc(hidden)]
#[macro_export]
macro_rules! trials {
    ($suite:path; $($group:ident :: $trial:ident)+) => {
        $(
            #[test]
            fn $trial() {
                $crate::conformance::$group::$trial(&$suite());
            }
        )+
    };
}
