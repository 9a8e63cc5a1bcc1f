//! Names that mean harm.

use std::fs;

use serde_json::json;

use crate::harness::{Site, record, row, rows_in, run, stream, visible};

#[test]
fn df_06_every_name_gets_its_own_directory_below_the_root() {
    let site = Site::jsonl();
    let long = "ü/".repeat(150);
    let names = [
        "..",
        "../../escape",
        "a/b",
        "a%2Fb",
        "it's \"quoted\"",
        "🦀",
        ".hidden",
        "nul",
        "a\nb",
        "day=1",
        long.as_str(),
        &format!("{long}2"),
    ];
    let streams: Vec<_> = names
        .iter()
        .map(|name| {
            let mut stream = stream("overwrite");
            stream["stream"]["name"] = json!(name);
            stream["stream"]["namespace"] = json!("..");
            stream
        })
        .collect();
    let input: String = names
        .iter()
        .zip(1..)
        .map(|(name, id)| {
            record(name, &format!("{{\"id\":{id}}}"))
                .replace("\"stream\":", "\"namespace\":\"..\",\"stream\":")
        })
        .collect();
    let run = run(&mut site.command(&streams), &input);
    assert!(run.ok, "{run:?}");
    let outside = visible(site.temp.path());
    assert_eq!(outside, ["catalog.json", "config.json", "out"], "nothing left the directory");
    assert_eq!(visible(&site.root()), ["%2E%2E"]);
    let dirs = visible(&site.root().join("%2E%2E"));
    assert_eq!(dirs.len(), names.len(), "{dirs:?}");
    let mut ids: Vec<_> =
        dirs.iter().flat_map(|d| rows_in(&site.root().join("%2E%2E").join(d))).map(|(id, _)| id).collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=names.len() as i64).collect::<Vec<_>>());
}

#[test]
fn a_stream_and_a_namespace_of_one_name_are_refused() {
    let site = Site::jsonl();
    site.sync(stream("append"), &row(1, "a"));
    let mut inside = stream("append");
    inside["stream"]["namespace"] = json!("s");
    let error = site.write(inside, "").error();
    assert!(error.contains("\"s\" is a stream without a namespace and a namespace"), "{error}");
}

#[test]
fn df_09_a_symbolic_link_in_the_way_is_not_followed() {
    let site = Site::jsonl();
    let elsewhere = site.temp.path().join("elsewhere");
    fs::create_dir_all(&elsewhere).unwrap();
    fs::create_dir_all(site.root()).unwrap();
    std::os::unix::fs::symlink(&elsewhere, site.root().join("s")).unwrap();
    let error = site.write(stream("overwrite"), &row(1, "a")).error();
    assert!(error.contains("symbolic link"), "{error}");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}
