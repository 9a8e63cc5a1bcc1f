//! States that a destination has committed in one step with their rows.
//!
//! A destination whose spec says `"ferrybyte": {"committed_states": true}` keeps the last states of each connection
//! beside its rows, and prints them when started as `committed --config FILE --catalog FILE` with the connection's id
//! in `FERRY_CONNECTION`. They are ahead of the saved ones when it, ferry or the machine ended between its commit and
//! our saving; a source that went on from the saved ones would send rows twice.

use protocol::json::{self, Token};
use protocol::{
    ConnectorSpecification, Message, State, StateScope, StreamDescriptor, SyncMode, parse_message,
};

use crate::catalog::Selected;
use crate::error::{Failure, Origin};
use crate::store::SavedState;

/// Whether the destination can be asked.
#[must_use]
pub fn keeps_states(spec: &ConnectorSpecification) -> bool {
    spec.extra.get("ferrybyte").and_then(|ours| ours.get("committed_states")) == Some(&true.into())
}

/// A committed state that is not the saved one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// The stream as the source calls it, or `None` when all share the state.
    pub stream: Option<StreamDescriptor>,
    /// Its content, as states are saved.
    pub state: Option<String>,
    /// The job that committed it.
    pub job: i64,
}

/// What the destination's lines say that is not saved.
///
/// # Errors
/// When a line is no state, or of a stream that was not asked for.
pub fn news(lines: &[Vec<u8>], streams: &[&Selected], saved: &[SavedState]) -> Result<Vec<News>, Failure> {
    let mut news = Vec::new();
    for line in lines {
        let Ok(Message::State(state)) = parse_message(line) else {
            return Err(unreadable("a line is no STATE"));
        };
        let job = job_of(line).ok_or_else(|| unreadable("a state without the job that committed it"))?;
        let (stream, content) = match &state.scope {
            StateScope::Stream(own) => {
                let Some(selected) = streams.iter().find(|s| s.target == own.descriptor) else {
                    return Err(unreadable("a state of a stream that was not asked for"));
                };
                let content = own.state.as_ref().map(|s| s.get().to_owned());
                // Made up by ferry, for a stream that has no states.
                if selected.configured.sync_mode == SyncMode::FullRefresh && content.as_deref() == Some("{}")
                {
                    continue;
                }
                (Some(selected.descriptor()), content)
            }
            StateScope::Global { .. } => {
                let bare = State { source_stats: None, destination_stats: None, id: None, ..state.clone() };
                (None, serde_json::to_string(&bare).ok())
            }
            StateScope::Legacy(_) => return Err(unreadable("a state of the LEGACY form")),
        };
        let known = saved.iter().find(|s| s.stream == stream);
        if known.is_none_or(|known| known.state != content) {
            news.push(News { stream, state: content, job });
        }
    }
    Ok(news)
}

/// The job in `state.ferrybyte.job`; 0, which is no job of ours, where it is null.
fn job_of(line: &[u8]) -> Option<i64> {
    let object = |text, name| match json::member(text, name) {
        Ok(Some(Token::Object(object))) => Some(object),
        _ => None,
    };
    let ours = object(object(line, "state")?, "ferrybyte")?;
    match json::member(ours, "job").ok()?? {
        Token::Number(number) => std::str::from_utf8(number).ok()?.parse().ok(),
        Token::Null => Some(0),
        _ => None,
    }
}

fn unreadable(what: &str) -> Failure {
    Failure::fatal(
        Origin::Destination,
        format!("what it says it has committed cannot be used: {what}; is it of the same version as ferry?"),
    )
}

#[cfg(test)]
mod tests {
    use super::{News, news};
    use crate::catalog::Selected;
    use crate::store::SavedState;
    use protocol::{ConfiguredCatalog, StreamDescriptor};

    fn selected(mode: &str) -> Selected {
        let text = format!(
            r#"{{"streams":[{{"stream":{{"name":"users","namespace":"public","json_schema":{{"properties":{{}}}},"supported_sync_modes":["full_refresh"]}},"sync_mode":"{mode}","destination_sync_mode":"append"}}]}}"#
        );
        let configured = ConfiguredCatalog::parse(text.as_bytes()).unwrap().streams.remove(0);
        Selected { configured, target: StreamDescriptor::new(Some("lake"), "ml_users"), fields: None }
    }

    fn line(content: &str, job: &str) -> Vec<u8> {
        format!(r#"{{"type":"STATE","state":{{"type":"STREAM","stream":{{"stream_descriptor":{{"namespace":"lake","name":"ml_users"}},"stream_state":{content}}},"destinationStats":{{"recordCount":3.0}},"ferrybyte":{{"job":{job},"attempt":0}}}}}}"#).into_bytes()
    }

    fn saved(state: &str) -> SavedState {
        SavedState {
            stream: Some(StreamDescriptor::new(Some("public"), "users")),
            state: Some(state.into()),
            source: "s".into(),
            job: 1,
            updated_at: 0,
        }
    }

    #[test]
    fn a_state_that_is_saved_is_no_news_and_another_goes_by_the_sources_name() {
        let stream = selected("incremental");
        let of =
            |content: &str, known: &[SavedState]| news(&[line(content, "7")], &[&stream], known).unwrap();
        assert_eq!(of(r#"{"at":1.50}"#, &[saved(r#"{"at":1.50}"#)]), []);
        let expected = News {
            stream: Some(StreamDescriptor::new(Some("public"), "users")),
            state: Some(r#"{"at":2}"#.into()),
            job: 7,
        };
        assert_eq!(of(r#"{"at":2}"#, &[saved(r#"{"at":1}"#)]), [expected]);
        assert_eq!(of(r#"{"at":2}"#, &[]).len(), 1);
        let full = selected("full_refresh");
        assert_eq!(news(&[line("{}", "7")], &[&full], &[]).unwrap(), []);
    }

    #[test]
    fn a_shared_state_is_kept_whole_and_without_counts() {
        let global = br#"{"type":"STATE","state":{"type":"GLOBAL","id":4,"global":{"shared_state":{"lsn":1},"stream_states":[]},"destinationStats":{"recordCount":1.0},"ferrybyte":{"job":null}}}"#;
        let found = news(&[global.to_vec()], &[], &[]).unwrap();
        assert_eq!((found[0].stream.as_ref(), found[0].job), (None, 0));
        let text = found[0].state.clone().unwrap();
        assert!(
            text.contains("lsn") && !text.contains("destinationStats") && !text.contains("\"id\""),
            "{text}"
        );
    }

    #[test]
    fn answers_that_make_no_sense_are_refused() {
        let stream = selected("incremental");
        let without_job = br#"{"type":"STATE","state":{"type":"GLOBAL","global":{"stream_states":[]}}}"#;
        for lines in [vec![line("{}", "\"x\"")], vec![without_job.to_vec()], vec![b"{}".to_vec()]] {
            assert!(news(&lines, &[&stream], &[]).is_err());
        }
        assert!(news(&[line("{}", "1")], &[], &[]).is_err());
    }
}
