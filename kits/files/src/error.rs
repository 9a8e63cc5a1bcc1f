//! Faults met while reading, on their way through `std::io::Read` to the kit's error type.

use std::io;

use connector_kit::Error;

/// Carried inside an [`io::Error`] through decoders that know nothing of it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Fault {
    message: String,
    transient: bool,
}

/// The file's content is at fault, or the config. `message` is a lower-case fragment that
/// follows the file's name, and says what to do.
pub fn bad_content(message: impl Into<String>) -> io::Error {
    io::Error::other(Fault { message: message.into(), transient: false })
}

/// Trying again may help.
pub fn interrupted(message: impl Into<String>) -> io::Error {
    io::Error::other(Fault { message: message.into(), transient: true })
}

/// Whether `error` was made here; others come from decoders and the operating system.
pub fn is_ours(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|e| e.is::<Fault>())
}

/// The kit's error for a read of `file` that failed after `line`.
pub fn reading(file: &str, line: Option<u64>, error: io::Error) -> Error {
    let place = line.filter(|l| *l > 0).map_or_else(String::new, |l| format!(" near line {l}"));
    if let Some(fault) = error.get_ref().and_then(|e| e.downcast_ref::<Fault>()) {
        let text = format!("The file {file}{place}: {}.", fault.message);
        return if fault.transient { Error::transient(text) } else { Error::config(text) };
    }
    let text = |what: &str| format!("The file {file} {what}");
    match error.kind() {
        io::ErrorKind::NotFound => Error::config(text("does not exist; check where it is.")),
        io::ErrorKind::PermissionDenied => {
            Error::config(text("cannot be opened: permission denied. Let this user read it."))
        }
        io::ErrorKind::IsADirectory => Error::config(text("is a directory; give the path of a file.")),
        _ => Error::transient(text(&format!(
            "cannot be read{place}; try again, and check the disk or the connection."
        ))),
    }
    .with_source(error)
}

/// The file's content is at fault on `line`; `what` is a lower-case fragment that says what to do.
pub fn at_line(file: &str, line: u64, what: &str) -> Error {
    Error::config(format!("The file {file}, line {line}: {what}."))
}
