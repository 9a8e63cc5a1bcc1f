//! What the file system says, as a sentence with a next step.

use std::io;
use std::path::Path;

use connector_kit::Error;
use rustix::io::Errno;

/// An error of the file system. `doing` continues "Cannot …".
pub(crate) fn io_error(doing: &str, path: &Path, error: impl Into<io::Error>) -> Error {
    let error = error.into();
    let shown = path.display();
    let advice = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOSPC) => "the disk is full; free space or choose another destination_path",
        Some(Errno::DQUOT) => "the disk quota is used up; raise it or choose another destination_path",
        Some(Errno::FBIG) => {
            "the file is larger than the system allows; lower max_file_size_mb or raise the file size limit"
        }
        Some(Errno::ROFS) => "the file system is read-only; choose another destination_path",
        Some(Errno::ACCESS | Errno::PERM) => {
            "permission is denied; let this user write there or choose another destination_path"
        }
        Some(Errno::NOTDIR | Errno::EXIST) => {
            "something that is not a directory stands in its path; remove it or choose another destination_path"
        }
        Some(Errno::LOOP) => "a symbolic link stands in its path, which is not followed; remove the link",
        Some(Errno::NAMETOOLONG) => "the path is too long; choose a shorter destination_path",
        Some(Errno::MFILE | Errno::NFILE) => {
            "too many files are open; raise the limit (ulimit -n) or sync fewer streams at once"
        }
        Some(Errno::NOENT) => {
            "it is not there; check destination_path, and that nobody else changes the directory"
        }
        Some(Errno::IO) => {
            return Error::transient(format!(
                "Cannot {doing} {shown}: the disk reports an input/output error; check the disk."
            ))
            .with_source(error);
        }
        _ => {
            return Error::system(format!("Cannot {doing} {shown}: {error}; check the file system."))
                .with_source(error);
        }
    };
    Error::config(format!("Cannot {doing} {shown}: {advice}.")).with_source(error)
}

/// An error of the columnar kit.
pub(crate) fn columnar_error(path: &Path, error: columnar::Error) -> Error {
    match error {
        columnar::Error::Io(error) => io_error("write to", path, error),
        columnar::Error::Parquet(_) => {
            Error::system(format!("The Parquet file {} cannot be written or read.", path.display()))
                .with_source(error)
        }
        error => {
            Error::config(sentence(&error.to_string(), "mend the source that sent it")).with_source(error)
        }
    }
}

/// A fragment as a sentence with advice.
pub(crate) fn sentence(fragment: &str, advice: &str) -> String {
    let mut letters = fragment.chars();
    let first: String = letters.next().map_or_else(String::new, |c| c.to_uppercase().collect());
    format!("{first}{}; {advice}.", letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::io_error;
    use connector_kit::ErrorKind;
    use rustix::io::Errno;
    use std::path::Path;

    #[test]
    fn what_the_user_can_mend_is_named() {
        for (errno, expected) in [
            (Errno::NOSPC, "the disk is full"),
            (Errno::DQUOT, "quota"),
            (Errno::ROFS, "read-only"),
            (Errno::ACCESS, "permission"),
            (Errno::LOOP, "symbolic link"),
            (Errno::MFILE, "ulimit -n"),
        ] {
            let error = io_error("write to", Path::new("/data/x"), errno);
            assert!(error.kind() == ErrorKind::Config && error.message().contains(expected), "{error}");
            assert!(error.message().contains("/data/x"), "{error}");
        }
        assert_eq!(io_error("sync", Path::new("x"), Errno::IO).kind(), ErrorKind::Transient);
    }
}
