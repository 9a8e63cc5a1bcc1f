//! Trials of `spec` and of the command line, for sources and destinations.

use protocol::Message;
use serde_json::Value;

use super::Suite;
use crate::folder::Folder;
use crate::output::Exit;

/// Names under which people keep what nobody else may see.
const SECRET_NAMES: [&str; 6] = ["password", "secret", "token", "api_key", "private_key", "credentials_json"];

pub(crate) fn spec_schema(suite: &impl Suite) -> Value {
    let output = suite.connector().run(["spec"]).succeeded();
    let mut specs = output.messages().filter_map(|m| if let Message::Spec(s) = m { Some(s) } else { None });
    let spec = specs.next().unwrap_or_else(|| panic!("spec printed no SPEC: {output}"));
    assert!(specs.next().is_none(), "spec printed more than one SPEC: {output}");
    spec.connection_specification.clone()
}

pub fn spec_is_one_line_and_offers_a_form(suite: &impl Suite) {
    let output = suite.connector().run(["spec"]).succeeded();
    assert!(output.lines.len() == 1, "spec must print one line: {output}");
    let schema = spec_schema(suite);
    assert_eq!(schema["type"], "object", "the config is an object: {schema}");
    let properties = schema["properties"].as_object().expect("the spec has properties");
    assert!(!properties.is_empty(), "the spec has no properties");
    jsonschema::draft7::new(&schema).expect("the spec is a draft-07 JSON Schema");
}

pub fn spec_keeps_to_what_platforms_can_show(suite: &impl Suite) {
    let schema = spec_schema(suite);
    let mut faults = Vec::new();
    walk(&schema, "$", &mut faults);
    assert!(faults.is_empty(), "the spec breaks the platform's rules: {faults:#?}");
}

fn walk(schema: &Value, at: &str, faults: &mut Vec<String>) {
    let Some(object) = schema.as_object() else { return };
    for forbidden in ["$ref", "allOf", "anyOf", "not", "definitions", "$defs"] {
        if object.contains_key(forbidden) {
            faults.push(format!("{at}: {forbidden}"));
        }
    }
    if object.get("additionalProperties") == Some(&Value::Bool(false)) {
        faults.push(format!("{at}: additionalProperties is false"));
    }
    if object.get("airbyte_secret").is_some_and(|flag| !flag.is_boolean()) {
        faults.push(format!("{at}: airbyte_secret is not a boolean"));
    }
    if let Some(Value::Object(properties)) = object.get("properties") {
        let mut orders = Vec::new();
        for (name, property) in properties {
            let at = format!("{at}.{name}");
            let text = property.get("type") == Some(&Value::from("string"));
            let secret = SECRET_NAMES.iter().any(|s| name.to_lowercase().contains(s));
            if secret && text && property.get("airbyte_secret") != Some(&Value::Bool(true)) {
                faults.push(format!("{at}: holds a secret and lacks airbyte_secret"));
            }
            if property.get("title").is_none() && property.get("const").is_none() {
                faults.push(format!("{at}: no title"));
            }
            orders.extend(property.get("order").and_then(Value::as_i64));
            walk(property, &at, faults);
        }
        let all = orders.len();
        orders.sort_unstable();
        orders.dedup();
        if orders.len() != all {
            faults.push(format!("{at}: two properties share an order"));
        }
    }
    if let Some(Value::Array(options)) = object.get("oneOf") {
        discriminated(options, at, faults);
        for (index, option) in options.iter().enumerate() {
            walk(option, &format!("{at}.oneOf[{index}]"), faults);
        }
    }
    if let Some(items) = object.get("items") {
        walk(items, &format!("{at}[]"), faults);
    }
}

/// A form shows a `oneOf` as a list to choose from; it needs one property that each option
/// holds as a constant of its own.
fn discriminated(options: &[Value], at: &str, faults: &mut Vec<String>) {
    let constants = |option: &Value| -> Vec<(String, String)> {
        let properties = option.get("properties").and_then(Value::as_object);
        let constant = |(name, p): (&String, &Value)| Some((name.clone(), p.get("const")?.to_string()));
        properties.into_iter().flatten().filter_map(constant).collect()
    };
    let each: Vec<_> = options.iter().map(constants).collect();
    let distinct = each.first().into_iter().flatten().any(|(name, _)| {
        let mut values: Vec<_> = each.iter().filter_map(|c| c.iter().find(|(n, _)| n == name)).collect();
        values.sort();
        values.dedup();
        values.len() == options.len()
    });
    if !distinct {
        faults.push(format!("{at}: the options of oneOf have no const that tells them apart"));
    }
}

pub fn config_of_the_trials_fits_the_spec(suite: &impl Suite) {
    let folder = Folder::new();
    let schema = spec_schema(suite);
    let validator = jsonschema::draft7::new(&schema).expect("the spec is a JSON Schema");
    let config = suite.config(&folder);
    let faults: Vec<String> = validator.iter_errors(&config).map(|e| e.to_string()).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

pub fn a_wrong_command_line_ends_with_code_2_and_an_empty_stdout(suite: &impl Suite) {
    for args in [&[][..], &["nonsense"], &["check"], &["check", "--nonsense", "x"]] {
        let output = suite.connector().run(args.iter().copied());
        assert!(output.exit == Exit::Code(2), "{args:?}: {output}");
        assert!(output.lines.is_empty(), "{args:?}: {output}");
        assert!(!output.stderr.is_empty(), "{args:?}: nothing tells what is wrong");
    }
}
