//! What `cargo xtask image` makes: small, the same each time, labelled, and ending as it is told.

use std::process::Stdio;

use serde_json::{Value, json};
use testkit::services::{Containers, Registry};
use testkit::{Folder, binary};

#[test]
fn an_image_is_the_same_each_time_it_is_built_and_says_what_it_is() {
    let containers = Containers::new();
    let image = containers.image("source-faker");
    let inspect = || {
        let text = containers.run(["image", "inspect", &image]);
        serde_json::from_str::<Value>(&text).unwrap()[0].clone()
    };
    let first = inspect();
    containers.run(["rmi", "--force", &image]);
    assert_eq!(containers.image("source-faker"), image);
    let second = inspect();
    assert_eq!((&first["Id"], &first["Digest"]), (&second["Id"], &second["Digest"]));
    let config = &second["Config"];
    assert_eq!(config["User"], "1000:1000");
    assert_eq!(config["Entrypoint"], json!(["/airbyte/source-faker"]));
    assert_eq!(config["Labels"]["io.airbyte.name"], "ferrybyte/source-faker");
    assert_eq!(config["Labels"]["io.airbyte.version"], env!("CARGO_PKG_VERSION"));
    let variables: Vec<&str> = config["Env"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(variables.contains(&"AIRBYTE_ENTRYPOINT=/airbyte/source-faker"), "{variables:?}");
    // An unoptimised binary is larger than what ships, and the limits hold even so: 60 MB in all, and all but the
    // binary under 10.
    let size = second["Size"].as_u64().unwrap();
    assert!(size < 60_000_000, "{size}");
    let without = containers.run([
        "run",
        "--rm",
        "--network=none",
        "--entrypoint=sh",
        &image,
        "-c",
        "wc -c < $AIRBYTE_ENTRYPOINT",
    ]);
    assert!(size - without.trim().parse::<u64>().unwrap() < 10_000_000, "{size} {without}");
}

#[test]
fn names_are_found_and_tools_zones_and_authorities_are_there() {
    let containers = Containers::new();
    let image = containers.image("source-faker");
    let script = "set -e; for tool in sh sleep kill mv echo; do command -v $tool > /dev/null; done; \
                  test \"$(TZ=Asia/Tokyo date +%Z)\" = JST; test \"$(id -un)\" = airbyte; \
                  test $(grep -c BEGIN /etc/ssl/certs/ca-certificates.crt) -gt 50; \
                  for folder in /airbyte /config /secrets /source /dest /staging/files /local /tmp; do touch $folder/x; done; \
                  echo well";
    let said = containers.run(["run", "--rm", "--network=none", "--entrypoint=sh", &image, "-c", script]);
    assert_eq!(said, "well\n");
}

#[test]
fn the_first_process_of_a_container_ends_when_it_is_told() {
    let containers = Containers::new();
    let image = containers.image("source-faker");
    let folder = Folder::new();
    folder.json("config.json", &json!({"count": 100_000_000}));
    let streams = json!({"streams": [{"stream": {"name": "users", "json_schema": {"type": "object", "properties": {}},
        "supported_sync_modes": ["full_refresh"]}, "sync_mode": "full_refresh", "destination_sync_mode": "append"}]});
    folder.json("catalog.json", &streams);
    make_readable(&folder);
    let mount = format!("{}:/files:ro", folder.path().display());
    let read = ["read", "--config", "/files/config.json", "--catalog", "/files/catalog.json"];
    let mut run = containers.podman(["run", "--name=reader", "--network=none", "--volume", &mount, &image]);
    let mut reader = run.args(read).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = reader.stdout.take().unwrap();
    let mut some = [0; 1 << 16];
    std::io::Read::read_exact(&mut stdout, &mut some).unwrap();
    let drained = std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()).unwrap());
    // Killed, and then with code 137, only after a minute.
    containers.run(["stop", "--time", "60", "reader"]);
    assert_eq!(reader.wait().unwrap().code(), Some(143));
    drained.join().unwrap();
}

fn make_readable(folder: &Folder) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), mode).unwrap();
}

/// An image that is loaded nowhere: its file, and its id.
fn archive(folder: &Folder) -> (String, String) {
    let path = folder.path().join("image.tar").display().to_string();
    let built = std::process::Command::new(binary("xtask"))
        .args(["image", "source-faker", "--any-size", "--archive", &path, "--binary"])
        .arg(binary("source-faker"))
        // None of these is asked for.
        .env("FERRY_CONTAINER_RUNTIME", "no-such-program")
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let said = String::from_utf8(built.stdout).unwrap();
    (path, said.split_whitespace().nth(1).unwrap().to_owned())
}

#[test]
fn an_archive_is_an_image_that_is_loaded_nowhere() {
    let folder = Folder::new();
    let (path, id) = archive(&folder);
    let containers = Containers::new();
    let loaded = containers.run(["load", "--quiet", "--input", &path]);
    assert!(loaded.contains("ferrybyte/source-faker"), "{loaded}");
    let known = containers.run(["images", "--no-trunc", "--quiet"]);
    assert_eq!(known.trim(), format!("sha256:{id}"));
}

#[test]
fn buildah_goes_on_from_an_archive() {
    let folder = Folder::new();
    let (path, id) = archive(&folder);
    let containers = Containers::new();
    let buildah = |args: &[&str]| {
        let mut command = std::process::Command::new("buildah");
        let told = command.args(args).envs(containers.environment()).output();
        let told = told.expect("buildah cannot be run; `cargo xtask servers` installs it");
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        String::from_utf8(told.stdout).unwrap()
    };
    let container = buildah(&["from", &format!("oci-archive:{path}")]);
    let container = container.trim();
    let known: Value = serde_json::from_str(&buildah(&["inspect", container])).unwrap();
    assert_eq!(known["FromImageID"], Value::from(id));
    let config = &known["OCIv1"]["config"];
    assert_eq!(config["User"], "1000:1000");
    assert_eq!(config["Entrypoint"], json!(["/airbyte/source-faker"]));
    assert_eq!(config["Labels"]["io.airbyte.name"], "ferrybyte/source-faker");
    // Another layer on it, as somebody would who adds a certificate of his own.
    let extra = folder.path().join("own.crt");
    std::fs::write(&extra, "certificate").unwrap();
    buildah(&["copy", container, extra.to_str().unwrap(), "/etc/ssl/certs/own.crt"]);
    buildah(&["commit", "--quiet", container, "own:1"]);
    let run = ["run", "--rm", "--network=none", "own:1", "spec"];
    assert!(containers.run(run).contains("connectionSpecification"));
    buildah(&["rm", container]);
}

#[test]
fn published_images_are_in_the_registry_and_the_registry_file_lists_them_by_the_same_name() {
    let (containers, registry) = (Containers::new(), Registry::start());
    let xtask = |args: &[&str]| {
        let mut command = std::process::Command::new(binary("xtask"));
        let told = command.args(args).envs(containers.environment()).output().unwrap();
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        String::from_utf8(told.stdout).unwrap()
    };
    let host = registry.host();
    let common = ["publish", "--registry", &host, "--profile", "dev", "--any-size", "--plain-http"];
    let said = xtask(&[&common[..], &["source-faker", "destination-local"]].concat());
    assert!(said.contains("without signatures"), "{said}");

    let folder = Folder::new();
    let path = folder.path().join("registry.json");
    xtask(&["registry", "--profile", "dev", "--registry", &host, "--out", path.to_str().unwrap()]);
    let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let entries: Vec<&Value> =
        ["sources", "destinations"].into_iter().flat_map(|kind| file[kind].as_array().unwrap()).collect();
    assert!(entries.len() >= 7);
    for entry in &entries {
        assert!(entry["spec"]["connectionSpecification"]["properties"].is_object(), "{entry}");
    }
    // Another machine, as far as podman knows.
    let elsewhere = Containers::new();
    for name in ["source-faker", "destination-local"] {
        let entry = entries.iter().find(|e| e["dockerRepository"].as_str().unwrap().ends_with(name)).unwrap();
        let reference = format!(
            "{}:{}",
            entry["dockerRepository"].as_str().unwrap(),
            entry["dockerImageTag"].as_str().unwrap()
        );
        elsewhere.run(["pull", "--quiet", "--tls-verify=false", &reference]);
        let id = |at: &Containers| at.run(["image", "inspect", "--format", "{{.Id}}", &reference]);
        assert_eq!(id(&elsewhere), id(&containers));
    }
}

#[test]
fn a_key_without_cosign_is_refused_before_anything_is_pushed() {
    let told = std::process::Command::new(binary("xtask"))
        .args(["publish", "--registry", "localhost:1", "--key", "cosign.key", "source-faker"])
        // Nothing is found here, whatever is installed.
        .env("PATH", "")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(!told.status.success() && said.contains("cosign, which is not installed"), "{said}");
}

#[test]
fn the_image_of_ferry_syncs_with_the_connectors_beside_it() {
    let containers = Containers::new();
    let with = "source-faker,destination-local";
    let built = std::process::Command::new(binary("xtask"))
        .args(["image", "ferry", "--profile", "dev", "--any-size", "--with", with])
        .envs(containers.environment())
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let folder = Folder::new();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(folder.path(), mode).unwrap();
    let sync = json!({"source": {"connector": "source-faker", "config": {"count": 5}},
        "destination": {"connector": "destination-local", "config": {"destination_path": "lake"}}});
    folder.json("sync.yaml", &sync);
    let volume = format!("{}:/data", folder.path().display());
    let image = format!("ferrybyte/ferry:{}", env!("CARGO_PKG_VERSION"));
    let run = [
        "run",
        "--rm",
        "--network=none",
        "--cap-drop=ALL",
        "--read-only",
        "--workdir=/data",
        "--volume",
        &volume,
        &image,
    ];
    let said = containers.run(run.into_iter().chain(["sync", "sync.yaml"]));
    assert!(said.contains("counts and digests agree"), "{said}");
    assert!(folder.files().iter().any(|f| f.extension().is_some_and(|e| e == "parquet")));
}

/// `cargo xtask release` of binaries in a folder.
fn release(from: &std::path::Path, name: &str) -> (String, Folder) {
    let out = Folder::new();
    let told = std::process::Command::new(binary("xtask"))
        .args(["release", name, "--from"])
        .arg(from)
        .arg("--out")
        .arg(out.path())
        .output()
        .unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    (String::from_utf8(told.stdout).unwrap(), out)
}

#[test]
fn a_release_archive_is_the_same_each_time() {
    let from = Folder::new();
    // Any small program will do.
    std::fs::copy("/bin/sleep", from.path().join("source-faker")).unwrap();
    let (one, other) = (release(from.path(), "source-faker"), release(from.path(), "source-faker"));
    assert_eq!(one.0, other.0);
    let archive = one.1.files().into_iter().find(|f| f.extension().is_some_and(|e| e == "gz")).unwrap();
    let bytes = |folder: &Folder| std::fs::read(folder.path().join(&archive)).unwrap();
    assert!(bytes(&one.1) == bytes(&other.1));
}

#[test]
fn a_release_of_ferry_holds_what_a_user_needs() {
    let (_, folder) = release(binary("ferry").parent().unwrap(), "ferry");
    let tool = |program: &str, args: &[&str]| {
        let told =
            std::process::Command::new(program).args(args).current_dir(folder.path()).output().unwrap();
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        String::from_utf8(told.stdout).unwrap()
    };
    let files: Vec<String> = folder.files().iter().map(|f| f.display().to_string()).collect();
    let archive = files.iter().find(|f| f.ends_with(".tar.gz")).unwrap();
    assert!(tool("sha256sum", &["--check", &format!("{archive}.sha256")]).contains("OK"));
    tool("tar", &["-xzf", archive]);
    let home = folder.path().join(archive.trim_end_matches(".tar.gz"));
    let said = tool(home.join("ferry").to_str().unwrap(), &["--version"]);
    assert!(said.contains(env!("CARGO_PKG_VERSION")), "{said}");
    for needed in [
        "README.md",
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "completions/_ferry",
        "man/ferry.1",
        "man/ferry-sync.1",
    ] {
        assert!(home.join(needed).exists(), "{needed}");
    }
}
