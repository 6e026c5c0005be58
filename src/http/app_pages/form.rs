//! Reading a form.

use actix_web::{HttpRequest, web};
use percent_encoding::percent_decode;

use crate::domain::limits::FORM_BYTES_MAX;
use crate::http::error::{ApiError, ProblemCode};
use crate::http::extract::read_body;

const MEDIA_TYPE: &str = "application/x-www-form-urlencoded";
/// Most fields of a form; no form here has as many.
const FIELDS_MAX: usize = 16;

/// The fields of a form, each of them once.
#[derive(Debug)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Kinds: 413, 415, and 400 for what no browser sends.
    pub(super) async fn read(
        request: &HttpRequest,
        payload: web::Payload,
    ) -> Result<Self, ApiError> {
        let body = read_body(request, payload, MEDIA_TYPE, FORM_BYTES_MAX).await?;
        Self::parse(&body)
    }

    fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let refuse = |detail| Err(ApiError::new(ProblemCode::InvalidRequest, detail));
        // A password with something else in place of a letter would be another one.
        if percent_decode(body).decode_utf8().is_err() {
            return refuse("the form is not UTF-8");
        }
        let mut fields: Vec<(String, String)> = Vec::new();
        for (name, value) in url::form_urlencoded::parse(body) {
            if fields.len() == FIELDS_MAX || fields.iter().any(|(known, _)| *known == name) {
                return refuse("the form has too many fields, or one of them twice");
            }
            fields.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(fields))
    }

    /// The value of a field; nothing if it is not there.
    pub(super) fn take(&mut self, name: &str) -> String {
        let field = self.0.iter_mut().find(|(known, _)| known == name);
        field.map(|(_, value)| std::mem::take(value)).unwrap_or_default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_browsers_write_them() {
        let mut form =
            Form::parse(b"email=a%40b.example&password=p+%2B%c3%a9%0D%0A&name=").unwrap();
        assert_eq!(form.take("password"), "p +\u{e9}\r\n");
        assert_eq!(form.take("password"), "", "it is taken");
        assert_eq!(form.take("email"), "a@b.example");
        assert_eq!((form.take("name"), form.take("token")), (String::new(), String::new()));
    }

    #[test]
    fn what_no_form_of_ours_is_is_refused() {
        let many: String = (0..=FIELDS_MAX).map(|n| format!("f{n}=1&")).collect();
        for body in ["token=a&token=b", "token=%ff", "p=a&%70=b", &many] {
            assert!(Form::parse(body.as_bytes()).is_err(), "{body}");
        }
        assert!(Form::parse(b"").is_ok());
    }
}
