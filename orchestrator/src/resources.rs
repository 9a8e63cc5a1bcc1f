//! `resources` of a sync file: how much processor and memory each end may use. Written as Kubernetes and
//! Airbyte write them: `cpu_limit: "1.5"` or `500m`, `memory_limit: 512Mi` or `2G`.

/// Limits of one end; `None` where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Thousandths of a processor.
    pub cpu_millis: Option<u64>,
    /// Bytes.
    pub memory: Option<u64>,
}

impl Resources {
    /// Whether there is anything to limit.
    #[must_use]
    pub fn any(&self) -> bool {
        self.cpu_millis.is_some() || self.memory.is_some()
    }
}

/// No process of ours starts in less.
const LEAST_MEMORY: u64 = 4 << 20;

/// Processors, in thousandths: `2`, `0.5`, `500m`.
pub(crate) fn cpu(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no number of processors; write for example 2, 0.5 or 500m");
    let text = text.trim();
    let millis = match text.strip_suffix('m') {
        Some(millis) => millis.parse().map_err(|_| wrong())?,
        None => {
            let (whole, part) = text.split_once('.').unwrap_or((text, ""));
            if part.len() > 3 || !text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
                return Err(wrong());
            }
            let whole: u64 = whole.parse().map_err(|_| wrong())?;
            let part: u64 = format!("{part:0<3}").parse().map_err(|_| wrong())?;
            whole.checked_mul(1000).and_then(|whole| whole.checked_add(part)).ok_or_else(wrong)?
        }
    };
    // The kernel shares time out in steps of a hundredth.
    if (10..=10_000_000).contains(&millis) { Ok(millis) } else { Err(wrong()) }
}

/// Bytes: `536870912`, `512Mi`, `2G`.
pub(crate) fn memory(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no amount of memory; write for example 512Mi, 2Gi or 1500M");
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let unit: u64 = match &text[digits..] {
        "" => 1,
        "k" | "K" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return Err(wrong()),
    };
    let bytes = text[..digits].parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).ok_or_else(wrong)?;
    match bytes {
        0..LEAST_MEMORY => Err(format!("{text:?} is less than 4Mi, in which nothing starts")),
        bytes if i64::try_from(bytes).is_err() => Err(wrong()),
        bytes => Ok(bytes),
    }
}

/// An amount of memory in words.
pub(crate) fn shown(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let exact = units.into_iter().find(|(unit, _)| bytes.is_multiple_of(*unit));
    exact.map_or_else(|| format!("{bytes} bytes"), |(unit, name)| format!("{} {name}", bytes / unit))
}

#[cfg(test)]
mod tests {
    use super::{cpu, memory, shown};

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        assert_eq!([cpu("2"), cpu("0.5"), cpu("500m"), cpu("1.25")], [Ok(2000), Ok(500), Ok(500), Ok(1250)]);
        assert_eq!(memory("512Mi"), Ok(512 << 20));
        assert_eq!(memory("2G"), Ok(2_000_000_000));
        assert_eq!(memory("8388608"), Ok(8 << 20));
    }

    #[test]
    fn what_is_no_quantity_is_refused_with_an_example() {
        for bad in ["", "x", "-1", "0", "1,5", "1.2345", "1e3", "99999999999999999999", "1m"] {
            assert!(cpu(bad).is_err_and(|e| e.contains("500m")), "{bad}");
        }
        for bad in ["", "x", "-1", "512mb", "512m", "1.5Gi", "99999999999999999999", "18446744073709551615Ti"]
        {
            assert!(memory(bad).is_err_and(|e| e.contains("512Mi")), "{bad}");
        }
        assert!(memory("1Mi").is_err_and(|e| e.contains("less than 4Mi")));
    }

    #[test]
    fn an_amount_is_shown_in_the_largest_unit_that_is_exact() {
        assert_eq!([shown(64 << 20), shown(3 << 30), shown(1500)], ["64 MiB", "3 GiB", "1500 bytes"]);
    }
}
