//! `tracing` events as LOG lines on stdout, masked.

use std::fmt::{Debug, Write};

use protocol::{Log, LogLevel, Message};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::emitter::Emitter;
use crate::secret::Masker;

struct LogLayer {
    out: Emitter,
    masker: Masker,
    most: Level,
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= self.most
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        let level = match *event.metadata().level() {
            Level::ERROR => LogLevel::Error,
            Level::WARN => LogLevel::Warn,
            Level::INFO => LogLevel::Info,
            Level::DEBUG => LogLevel::Debug,
            Level::TRACE => LogLevel::Trace,
        };
        let message = self.masker.mask(&(text.message + &text.fields));
        // With stdout gone there is nobody left to tell.
        let _ = self.out.message(&Message::Log(Log {
            level,
            message,
            stack_trace: None,
            extra: serde_json::Map::new(),
        }));
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            let _ = write!(self.fields, " {}={value:?}", field.name());
        }
    }
}

/// Sends events of this thread and of those it lets run to `out` while the guard lives.
pub(crate) fn subscriber(out: Emitter, masker: Masker, debug: bool) -> impl Subscriber + Send + Sync {
    let most = if debug { Level::DEBUG } else { Level::INFO };
    tracing_subscriber::registry().with(LogLayer { out, masker, most })
}
