//! Completions and manual pages, made from the command line's own description.

use clap::CommandFactory;
use serde_json::json;

use super::{Answer, Cli, pretty};
use crate::error::{Error, Failure, Origin};

fn answer(text: String) -> Answer {
    let json = pretty(&json!({"text": text}));
    Answer { text, json, problems: String::new(), code: 0 }
}

pub(super) fn completions(shell: clap_complete::Shell) -> Answer {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ferry", &mut script);
    answer(String::from_utf8_lossy(&script).into_owned())
}

pub(super) fn page(command: Option<&str>) -> Result<Answer, Error> {
    let mut whole = Cli::command();
    whole.build();
    let page = match command {
        None => whole,
        Some(name) => {
            let known: Vec<_> = whole.get_subcommands().map(|c| c.get_name().to_owned()).collect();
            let found = whole.find_subcommand(name).cloned();
            let found = found.ok_or_else(|| {
                let hint = crate::suggest::hint(name, known.iter().map(String::as_str));
                Error::Usage(format!("ferry has no command {name}{hint}"))
            })?;
            found.display_name(format!("ferry-{name}"))
        }
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page)
        .render(&mut text)
        .map_err(|e| Failure::fatal(Origin::Ferry, format!("the page cannot be written: {e}")))?;
    Ok(answer(String::from_utf8_lossy(&text).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::{completions, page};
    use clap_complete::Shell;

    #[test]
    fn every_shell_is_told_of_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell, Shell::Elvish] {
            let script = completions(shell).text;
            assert!(["history", "discover", "data-dir"].iter().all(|word| script.contains(word)), "{shell}");
        }
    }

    #[test]
    fn there_is_a_page_of_the_whole_and_of_each_command() {
        let whole = page(None).unwrap().text;
        assert!(whole.contains(".TH ferry") && whole.contains("Exit codes: 0"), "{whole}");
        let sync = page(Some("sync")).unwrap().text;
        assert!(sync.contains("attempts") && sync.contains("ferry\\-sync"), "{sync}");
        assert!(page(Some("snyc")).unwrap_err().to_string().contains("did you mean \"sync\"?"));
    }
}
