//! Disks, permissions and input that fail: a named error, the old rows in place, nothing half written.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::json;

use crate::harness::{BINARY, STATE, Site, owned, record, row, run, stream, visible};

#[test]
fn df_09_a_disk_that_takes_no_more_is_named_and_leaves_the_old_rows() {
    for format in ["parquet", "jsonl", "csv"] {
        for mode in ["overwrite", "append", "append_dedup"] {
            let site = Site::new(json!({"format_type": format}));
            site.sync(stream(mode), &row(1, "old"));
            // The same path through the writer as a full disk: the write comes back with an error.
            let inner = site.command(&[stream(mode)]);
            let mut limited = Command::new("sh");
            limited
                .args(["-c", "trap '' XFSZ; ulimit -f 100; exec \"$0\" \"$@\"", BINARY])
                .args(inner.get_args());
            let mut state = 1_u64;
            let input: String = (2..40_000)
                .map(|i| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    row(i, &format!("{state:x}{:x}", state.rotate_left(17)))
                })
                .collect();
            let run = run(&mut limited, &[input.as_str(), STATE].concat());
            assert_eq!(run.states(), 0, "{mode} {format}: no state is echoed for rows that are not there");
            let error = run.error();
            assert!(
                error.contains("max_file_size_mb") && error.contains(&*site.root().to_string_lossy()),
                "{error}"
            );
            assert_eq!(site.rows(), owned(&[(1, "old")]), "{mode} {format}");
            let left = fs::read_dir(site.root().join("s"))
                .unwrap()
                .chain(fs::read_dir(site.root().join(".ferry")).unwrap());
            let left: Vec<_> = left.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            assert!(
                !left.iter().any(|n| n.contains("tmp") || n.contains("staging")),
                "{mode} {format}: {left:?}"
            );
        }
    }
}

#[test]
fn df_09_a_directory_without_permission_fails_check_and_write_with_advice() {
    let site = Site::parquet();
    fs::create_dir(site.root()).unwrap();
    fs::set_permissions(site.root(), fs::Permissions::from_mode(0o555)).unwrap();
    fs::set_permissions(site.temp.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let inner = site.command(&[stream("append")]);
    let binary = site.temp.path().join("copy");
    fs::copy(BINARY, &binary).unwrap();
    let as_nobody = |args: &[&std::ffi::OsStr]| {
        let mut command = Command::new(&binary);
        command.args(args);
        if rustix::process::geteuid().is_root() {
            // Root ignores permissions.
            command.uid(65_534).gid(65_534);
        }
        command
    };
    let args: Vec<_> = inner.get_args().collect();
    let error = run(&mut as_nobody(&args), &row(1, "a")).error();
    assert!(error.contains("permission is denied"), "{error}");
    let check = run(&mut as_nobody(&["check".as_ref(), args[1], args[2]]), "");
    let status = &check.of_kind("CONNECTION_STATUS")[0]["connectionStatus"];
    assert!(check.ok && status["status"] == "FAILED", "{check:?}");
    assert!(status["message"].as_str().unwrap().contains("permission is denied"), "{status}");
}

#[test]
fn a_file_where_a_directory_should_be_is_named() {
    let site = Site::parquet();
    fs::write(site.root(), "a file").unwrap();
    let error = site.write(stream("append"), &row(1, "a")).error();
    assert!(error.contains("not a directory") && error.contains("destination_path"), "{error}");
    fs::remove_file(site.root()).unwrap();
    fs::create_dir(site.root()).unwrap();
    fs::write(site.root().join("s"), "a file").unwrap();
    let error = site.write(stream("append"), &row(1, "a")).error();
    assert!(error.contains("not a directory") && error.contains("out/s"), "{error}");
    assert_eq!(fs::read_to_string(site.root().join("s")).unwrap(), "a file");
}

#[test]
fn a_record_that_is_no_object_is_named_by_its_line_and_nothing_is_published() {
    let site = Site::jsonl();
    site.sync(stream("overwrite"), &row(1, "old"));
    let error =
        site.write(stream("overwrite"), &[row(2, "x"), record("s", r#"{"id":tru}"#)].concat()).error();
    assert!(error.contains("line 2"), "{error}");
    assert_eq!(site.rows(), owned(&[(1, "old")]));
}

#[test]
fn a_damaged_list_of_files_is_named_and_nothing_is_touched() {
    let site = Site::jsonl();
    site.sync(stream("append"), &row(1, "a"));
    let manifest = site.root().join("s/.ferry-manifest.json");
    fs::write(&manifest, "{\"version\":1").unwrap();
    let before = visible(&site.root().join("s"));
    let error = site.write(stream("overwrite"), &row(2, "b")).error();
    assert!(error.contains(".ferry-manifest.json is damaged"), "{error}");
    assert_eq!(visible(&site.root().join("s")), before);
}

#[test]
fn a_field_with_the_name_of_an_added_column_is_refused() {
    let site = Site::parquet();
    let mut stream = stream("append");
    stream["stream"]["json_schema"]["properties"]["_airbyte_meta"] = json!({"type": "string"});
    let error = site.write(stream, "").error();
    assert!(error.contains("_airbyte_meta") && error.contains("Stream s"), "{error}");
}

#[test]
fn a_data_file_that_somebody_shortened_is_noticed_before_it_is_rewritten() {
    let site = Site::jsonl();
    site.sync(stream("append_dedup"), &[row(1, "1"), row(2, "1")].concat());
    let dir = site.root().join("s");
    let path = dir.join(&visible(&dir)[0]);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.lines().next().unwrap().to_owned() + "\n").unwrap();
    let error = site.write(stream("append_dedup"), &row(2, "2")).error();
    assert!(error.contains("another program changed it"), "{error}");
    assert!(path.exists(), "nothing was published");
}
