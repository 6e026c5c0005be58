//! What a provider says about itself at `/.well-known/openid-configuration`.

use serde::Deserialize;
use url::Url;

use super::config::{TokenAuth, is_loopback, is_protected};
use super::fetch::{FetchError, read_json};

const WELL_KNOWN: &str = "/.well-known/openid-configuration";

/// The parts of the document that are used, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Metadata {
    pub(super) authorization: Url,
    pub(super) token: Url,
    pub(super) keys: Url,
    pub(super) userinfo: Option<Url>,
    pub(super) end_session: Option<Url>,
    pub(super) token_auth: TokenAuth,
    /// RFC 9207: its answers say who they are from.
    pub(super) names_itself: bool,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    userinfo_endpoint: Option<String>,
    end_session_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// Where the document of `issuer` is. `None`: `issuer` is no URL.
pub(super) fn address(issuer: &str) -> Option<Url> {
    Url::parse(&format!("{}{WELL_KNOWN}", issuer.trim_end_matches('/'))).ok()
}

impl Metadata {
    /// Reads the document of `issuer`, which must say that it is that issuer's, letter by letter.
    pub(super) fn read(
        body: &[u8],
        issuer: &str,
        token_auth: Option<TokenAuth>,
    ) -> Result<Self, FetchError> {
        let document: Document = read_json(body)?;
        if document.issuer != issuer {
            return Err(FetchError::Form("the document names another issuer"));
        }
        let at_home = Url::parse(issuer).is_ok_and(|url| is_loopback(&url));
        let endpoint = |text: &str| {
            let url = Url::parse(text).ok().filter(is_protected);
            // Somebody else's provider has no business on this machine.
            let url = url.filter(|url| at_home || !is_loopback(url));
            let url = url.filter(|url| url.username().is_empty() && url.password().is_none());
            url.ok_or(FetchError::Form("an endpoint is not a protected URL"))
        };
        let optional = |text: &Option<String>| text.as_deref().map(endpoint).transpose();
        Ok(Self {
            authorization: endpoint(&document.authorization_endpoint)?,
            token: endpoint(&document.token_endpoint)?,
            keys: endpoint(&document.jwks_uri)?,
            userinfo: optional(&document.userinfo_endpoint)?,
            end_session: optional(&document.end_session_endpoint)?,
            token_auth: token_auth.unwrap_or_else(|| document.preferred_auth()),
            names_itself: document.authorization_response_iss_parameter_supported,
        })
    }
}

impl Document {
    /// `basic` is what the standard assumes where nothing is said.
    fn preferred_auth(&self) -> TokenAuth {
        let Some(methods) = &self.token_endpoint_auth_methods_supported else {
            return TokenAuth::Basic;
        };
        let takes = |name: &str| methods.iter().any(|method| method == name);
        match takes("client_secret_post") && !takes("client_secret_basic") {
            true => TokenAuth::Post,
            false => TokenAuth::Basic,
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ISSUER: &str = "https://login.acme.example";

    fn document() -> Value {
        json!({
            "issuer": ISSUER,
            "authorization_endpoint": "https://login.acme.example/auth?tenant=1",
            "token_endpoint": "https://login.acme.example/token",
            "jwks_uri": "https://keys.acme.example/jwks",
            "something_else": [1, 2, 3],
        })
    }

    fn read(document: &Value) -> Result<Metadata, FetchError> {
        Metadata::read(document.to_string().as_bytes(), ISSUER, None)
    }

    #[test]
    fn a_plain_document_is_read() {
        let metadata = read(&document()).unwrap();
        assert_eq!(metadata.token_auth, TokenAuth::Basic);
        assert!(metadata.end_session.is_none() && !metadata.names_itself);
    }

    #[test]
    fn the_issuer_must_be_the_same_to_the_letter() {
        for other in ["https://login.acme.example/", "https://LOGIN.acme.example", "", "null"] {
            let mut changed = document();
            changed["issuer"] = json!(other);
            assert!(read(&changed).is_err(), "{other}");
        }
    }

    #[test]
    fn endpoints_are_protected_and_not_on_this_machine() {
        for key in [
            "authorization_endpoint",
            "token_endpoint",
            "jwks_uri",
            "userinfo_endpoint",
            "end_session_endpoint",
        ] {
            for url in [
                "http://login.acme.example/x",
                "file:///etc/passwd",
                "javascript:1",
                "",
                "/relative",
                "https://localhost/x",
                "http://127.0.0.1/x",
                "https://[::1]/",
                "https://a:b@login.acme.example/",
                "https://login.acme.example/#f",
            ] {
                let mut changed = document();
                changed[key] = json!(url);
                assert!(read(&changed).is_err(), "{key} = {url}");
            }
        }
    }

    #[test]
    fn the_client_proves_itself_as_the_provider_wants() {
        for (methods, expected) in [
            (json!(["client_secret_post"]), TokenAuth::Post),
            (json!(["client_secret_post", "client_secret_basic"]), TokenAuth::Basic),
            (json!(["private_key_jwt"]), TokenAuth::Basic),
        ] {
            let mut changed = document();
            changed["token_endpoint_auth_methods_supported"] = methods;
            assert_eq!(read(&changed).unwrap().token_auth, expected);
        }
        let body = document().to_string();
        let chosen = Metadata::read(body.as_bytes(), ISSUER, Some(TokenAuth::Post)).unwrap();
        assert_eq!(chosen.token_auth, TokenAuth::Post);
    }

    #[test]
    fn where_the_document_is() {
        for issuer in ["https://a.example/realm", "https://a.example/realm/"] {
            let url = address(issuer).unwrap();
            assert_eq!(url.as_str(), "https://a.example/realm/.well-known/openid-configuration");
        }
    }
}
