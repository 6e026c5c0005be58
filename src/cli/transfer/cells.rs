//! Columns of the CSV form: how each field of a row stands in a cell. An empty cell is an absent
//! field. Cells are data for another machine and are never changed to please a spreadsheet.

use crate::service::import::ImportRow;

/// A column by its name, in the order in which an export writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Code,
    Domain,
    Destination,
    Title,
    Notes,
    Tags,
    RedirectStatus,
    StartsAt,
    ExpiresAt,
    ExpiredUrl,
    MaxClicks,
    ForwardQuery,
    ExternalId,
    Status,
    CreatedAt,
    UpdatedAt,
    CreatedVia,
    Clicks,
    LastClickedAt,
    Version,
    /// Read only, like the two that follow: an export writes when a link expires, not in how long,
    /// and what its code is, not how it was made.
    ExpiresIn,
    CodeScheme,
    CodeLength,
}

impl Column {
    /// Every column that an export writes.
    pub(super) const ALL: [(Self, &str); 20] = [
        (Self::Code, "code"),
        (Self::Domain, "domain"),
        (Self::Destination, "destination"),
        (Self::Title, "title"),
        (Self::Notes, "notes"),
        (Self::Tags, "tags"),
        (Self::RedirectStatus, "redirect_status"),
        (Self::StartsAt, "starts_at"),
        (Self::ExpiresAt, "expires_at"),
        (Self::ExpiredUrl, "expired_url"),
        (Self::MaxClicks, "max_clicks"),
        (Self::ForwardQuery, "forward_query"),
        (Self::ExternalId, "external_id"),
        (Self::Status, "status"),
        (Self::CreatedAt, "created_at"),
        (Self::UpdatedAt, "updated_at"),
        (Self::CreatedVia, "created_via"),
        (Self::Clicks, "clicks"),
        (Self::LastClickedAt, "last_clicked_at"),
        (Self::Version, "version"),
    ];
    /// Columns that only an import knows.
    const READ_ONLY: [(Self, &str); 3] = [
        (Self::ExpiresIn, "expires_in"),
        (Self::CodeScheme, "code_scheme"),
        (Self::CodeLength, "code_length"),
    ];

    /// Every column there is.
    pub(super) fn known() -> impl Iterator<Item = (Self, &'static str)> {
        Self::ALL.into_iter().chain(Self::READ_ONLY)
    }

    /// The column called `name`; `alias` is what the API calls a code that somebody chose.
    pub(super) fn named(name: &str) -> Option<Self> {
        let name = if name == "alias" { "code" } else { name };
        Self::known().find(|(_, known)| *known == name).map(|(column, _)| column)
    }

    pub(super) fn name(self) -> &'static str {
        Self::known().find(|(column, _)| *column == self).map_or("", |(_, name)| name)
    }

    /// Puts a cell into `row`. Answers what is wrong with it.
    pub(super) fn put(self, row: &mut ImportRow, cell: &str) -> Result<(), String> {
        if cell.is_empty() {
            return Ok(());
        }
        let text = || Some(cell.to_owned());
        match self {
            Self::Code => row.code = text(),
            Self::Domain => row.domain = text(),
            Self::Destination => row.destination = text(),
            Self::Title => row.title = text(),
            Self::Notes => row.notes = text(),
            Self::Tags => row.tags = Some(split_tags(cell)),
            Self::RedirectStatus => row.redirect_status = Some(self.number(cell)?),
            Self::StartsAt => row.starts_at = text(),
            Self::ExpiresAt => row.expires_at = text(),
            Self::ExpiresIn => row.expires_in = Some(self.number(cell)?),
            Self::CodeScheme => row.code_scheme = text(),
            Self::CodeLength => row.code_length = Some(self.number(cell)?),
            Self::ExpiredUrl => row.expired_url = text(),
            Self::MaxClicks => row.max_clicks = Some(self.number(cell)?),
            Self::ForwardQuery => row.forward_query = Some(self.flag(cell)?),
            Self::ExternalId => row.external_id = text(),
            Self::Status => row.status = text(),
            Self::CreatedAt => row.created_at = text(),
            Self::UpdatedAt => row.updated_at = text(),
            Self::CreatedVia => row.created_via = text(),
            Self::Clicks => row.clicks = Some(self.number(cell)?),
            Self::LastClickedAt => row.last_clicked_at = text(),
            Self::Version => row.version = Some(self.number(cell)?),
        }
        Ok(())
    }

    /// The cell of `row` in this column.
    pub(super) fn take(self, row: &mut ImportRow) -> String {
        fn number<T: ToString>(number: Option<T>) -> String {
            number.map_or_else(String::new, |number| number.to_string())
        }
        match self {
            Self::Code => row.code.take(),
            Self::Domain => row.domain.take(),
            Self::Destination => row.destination.take(),
            Self::Title => row.title.take(),
            Self::Notes => row.notes.take(),
            Self::Tags => row.tags.take().map(|tags| join_tags(&tags)),
            Self::RedirectStatus => Some(number(row.redirect_status)),
            Self::StartsAt => row.starts_at.take(),
            Self::ExpiresAt => row.expires_at.take(),
            Self::ExpiresIn | Self::CodeScheme | Self::CodeLength => None,
            Self::ExpiredUrl => row.expired_url.take(),
            Self::MaxClicks => Some(number(row.max_clicks)),
            Self::ForwardQuery => Some(number(row.forward_query)),
            Self::ExternalId => row.external_id.take(),
            Self::Status => row.status.take(),
            Self::CreatedAt => row.created_at.take(),
            Self::UpdatedAt => row.updated_at.take(),
            Self::CreatedVia => row.created_via.take(),
            Self::Clicks => Some(number(row.clicks)),
            Self::LastClickedAt => row.last_clicked_at.take(),
            Self::Version => Some(number(row.version)),
        }
        .unwrap_or_default()
    }

    fn number<T: std::str::FromStr>(self, cell: &str) -> Result<T, String> {
        cell.parse().map_err(|_| format!("`{}` is not a number in range", self.name()))
    }

    fn flag(self, cell: &str) -> Result<bool, String> {
        match cell {
            _ if cell.eq_ignore_ascii_case("true") => Ok(true),
            _ if cell.eq_ignore_ascii_case("false") => Ok(false),
            _ => Err(format!("`{}` is neither true nor false", self.name())),
        }
    }
}

/// Tags stand side by side with `|` between them; `\|` is a bar within a tag, `\\` a backslash.
fn join_tags(tags: &[String]) -> String {
    let escaped: Vec<_> =
        tags.iter().map(|tag| tag.replace('\\', "\\\\").replace('|', "\\|")).collect();
    escaped.join("|")
}

fn split_tags(cell: &str) -> Vec<String> {
    let mut tags = vec![String::new()];
    let mut characters = cell.chars().peekable();
    while let Some(character) = characters.next() {
        let escaped = (character == '\\').then(|| characters.next_if(|c| matches!(c, '|' | '\\')));
        match (character, escaped.flatten()) {
            ('|', _) => tags.push(String::new()),
            (character, escaped) => {
                let last = tags.last_mut().expect("there is always a tag under way");
                last.push(escaped.unwrap_or(character));
            }
        }
    }
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_read_back_whatever_they_contain() {
        for tags in [
            &["a"][..],
            &["a", "b c"],
            &["a|b", "c\\d", "e\\|f", "\\", "|", "\\\\"],
            &["ä", "=1+1"],
        ] {
            let tags: Vec<_> = tags.iter().map(ToString::to_string).collect();
            assert_eq!(split_tags(&join_tags(&tags)), tags);
        }
        assert_eq!(split_tags("a\\b|c"), ["a\\b", "c"]);
        assert_eq!(split_tags("a||b"), ["a", "", "b"]);
    }

    #[test]
    fn every_column_is_found_by_its_name() {
        for (column, name) in Column::known() {
            assert_eq!(Column::named(name), Some(column));
            assert_eq!(column.name(), name);
        }
        assert_eq!(Column::named("alias"), Some(Column::Code));
        assert_eq!(Column::named("Code"), None);
    }
}
