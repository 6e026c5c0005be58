//! Single clicks as lines of CSV (RFC 4180).

use std::borrow::Cow;

use csv::{Terminator, Writer, WriterBuilder};

use crate::http::wire::{ClickView, UtmView};

/// Names of the columns, in order.
const COLUMNS: [&str; 23] = [
    "id",
    "at",
    "country",
    "region",
    "city",
    "continent",
    "device",
    "os",
    "browser",
    "referrer",
    "referrer_domain",
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "utm_term",
    "utm_content",
    "language",
    "destination",
    "rule",
    "bot",
    "qr",
    "prefetch",
    "visitor",
];

/// Lines in the making.
pub(super) struct CsvLines(Writer<Vec<u8>>);

impl CsvLines {
    pub(super) fn new() -> Self {
        let mut builder = WriterBuilder::new();
        Self(builder.terminator(Terminator::CRLF).from_writer(Vec::new()))
    }

    pub(super) fn header(&mut self) -> Result<(), csv::Error> {
        self.0.write_record(COLUMNS)
    }

    pub(super) fn click(&mut self, click: &ClickView) -> Result<(), csv::Error> {
        let utm =
            |pick: fn(&UtmView) -> &Option<String>| text(click.utm.as_ref().map_or(&None, pick));
        let cells: [Cow<'_, str>; COLUMNS.len()] = [
            Cow::Borrowed(&click.id),
            Cow::Borrowed(&click.at),
            text(&click.country),
            text(&click.region),
            text(&click.city),
            text(&click.continent),
            text(&click.device),
            text(&click.os),
            text(&click.browser),
            text(&click.referrer),
            text(&click.referrer_domain),
            utm(|utm| &utm.source),
            utm(|utm| &utm.medium),
            utm(|utm| &utm.campaign),
            utm(|utm| &utm.term),
            utm(|utm| &utm.content),
            text(&click.language),
            harmless(&click.destination),
            Cow::Borrowed(""),
            flag(click.bot),
            flag(click.qr),
            flag(click.prefetch),
            text(&click.visitor),
        ];
        self.0.write_record(cells.iter().map(|cell| cell.as_bytes()))
    }

    pub(super) fn finish(self) -> Result<Vec<u8>, csv::Error> {
        self.0
            .into_inner()
            .map_err(|error| csv::Error::from(std::io::Error::from(error.error().kind())))
    }
}

fn text(text: &Option<String>) -> Cow<'_, str> {
    text.as_deref().map_or(Cow::Borrowed(""), harmless)
}

fn flag(set: bool) -> Cow<'static, str> {
    Cow::Borrowed(if set { "true" } else { "false" })
}

/// A text that no spreadsheet runs: what begins like a formula, also behind quotes or spaces, which
/// some programs take away, gets an apostrophe before it.
fn harmless(text: &str) -> Cow<'_, str> {
    const STARTS: [char; 11] =
        ['=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];
    let inner = text.trim_start_matches(['"', '\'', ' ']);
    match inner.starts_with(STARTS) {
        true => Cow::Owned(format!("'{text}")),
        false => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_spreadsheet_would_run_gets_an_apostrophe() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\"=1", " '\"=1", "\u{ff1d}1"]
        {
            assert_eq!(harmless(text), format!("'{text}"));
        }
        for text in ["", "https://a.example/?b=-1", "de-DE", "a=1", "\"a", "1-2"] {
            assert_eq!(harmless(text), text);
        }
    }
}
