//! `cargo xtask bench`: the benchmarks under `benches/`.

use crate::Result;
use crate::shell;

pub(crate) fn bench(filter: &[&str]) -> Result {
    let mut args = vec!["bench", "--workspace", "--benches"];
    if !filter.is_empty() {
        args.push("--");
        args.extend(filter);
    }
    shell::cargo(&args)
}
