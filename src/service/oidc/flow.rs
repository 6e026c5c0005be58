//! The authorization code flow: the question in the browser's address, the answer in ours.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use serde::Deserialize;
use tracing::warn;
use url::Url;

use super::config::TokenAuth;
use super::discovery::Metadata;
use super::fault::{OidcFault, TokenFault};
use super::fetch::read_json;
use super::pending::Pending;
use super::provider::Provider;
use super::return_to::ReturnTo;
use super::token::{Claims, Compact, Profile};
use super::{ExternalIdentity, Oidc};
use crate::domain::secret::Secret;

/// Longest code that is taken to the provider, in bytes.
const CODE_BYTES_MAX: usize = 4_096;
/// Longest error word that is logged, in bytes.
const ERROR_BYTES_MAX: usize = 40;

/// A sign-in that begins: where the browser goes, and what it carries meanwhile.
#[derive(Debug)]
pub struct Begun {
    pub url: Url,
    /// For a cookie that lives ten minutes.
    pub state_cookie: String,
}

/// A sign-in that is done.
#[derive(Debug)]
pub struct Finished {
    pub identity: ExternalIdentity,
    pub return_to: ReturnTo,
    /// The ID token, for signing out at the provider later.
    pub id_token_hint: Secret,
}

/// The parameters that a provider sends the browser back with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Callback {
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

/// The good answer of a token endpoint.
#[derive(Deserialize)]
struct Tokens {
    id_token: String,
    access_token: Option<String>,
}

/// The bad one. Only the word is looked at.
#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(default)]
    error: String,
}

/// What a userinfo endpoint tells.
#[derive(Deserialize)]
struct UserInfo {
    sub: String,
    #[serde(flatten)]
    profile: Profile,
}

impl Callback {
    /// Reads the query of the callback. A parameter that counts may be there once. Fault:
    /// `Callback`.
    pub fn parse(query: &str) -> Result<Self, OidcFault> {
        let mut callback = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let place = match name.as_ref() {
                "code" => &mut callback.code,
                "state" => &mut callback.state,
                "iss" => &mut callback.iss,
                "error" => &mut callback.error,
                _ => continue,
            };
            if place.replace(value.into_owned()).is_some() {
                return Err(OidcFault::Callback);
            }
        }
        Ok(callback)
    }
}

impl Oidc {
    /// Begins a sign-in with the provider of this id. Faults: `UnknownProvider`, `ReturnTo`,
    /// `Unavailable`, `Entropy`.
    pub async fn begin(&self, provider: &str, return_to: &str) -> Result<Begun, OidcFault> {
        let provider = self.provider(provider)?;
        let pending = Pending::begin(self.clock.now(), ReturnTo::parse(return_to)?)?;
        let metadata = provider.metadata().await?;
        let state_cookie = self.sealer.seal(&provider.config.id, &pending)?;
        let mut url = metadata.authorization.clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &provider.config.client_id)
            .append_pair("redirect_uri", &self.redirect_uri(provider))
            .append_pair("scope", &provider.config.scopes.join(" "))
            .append_pair("state", &pending.state())
            .append_pair("nonce", &pending.nonce())
            .append_pair("code_challenge", &pending.challenge())
            .append_pair("code_challenge_method", "S256");
        Ok(Begun { url, state_cookie })
    }

    /// Ends a sign-in: redeems the code and checks who it is. `cookie` is what `begin` gave the
    /// browser. Faults: `UnknownProvider`, `State`, `Issuer`, `Callback`, `Denied`, `Code`,
    /// `Token`, `Unavailable`.
    pub async fn finish(
        &self,
        provider: &str,
        callback: &Callback,
        cookie: Option<&str>,
    ) -> Result<Finished, OidcFault> {
        let provider = self.provider(provider)?;
        let id = &provider.config.id;
        let pending = self.sealer.open(id, cookie.unwrap_or_default(), self.clock.now())?;
        let state = callback.state.as_deref().unwrap_or_default();
        verify_slices_are_equal(state.as_bytes(), pending.state().as_bytes())
            .map_err(|_| OidcFault::State)?;

        let metadata = provider.metadata().await?;
        check_sender(callback, &metadata, &provider.config.issuer)?;
        if let Some(error) = &callback.error {
            warn!(provider = id, error = word(error), "a provider refused a sign-in");
            return Err(OidcFault::Denied);
        }
        let code = callback.code.as_deref().unwrap_or_default();
        if !(1..=CODE_BYTES_MAX).contains(&code.len()) {
            return Err(OidcFault::Callback);
        }
        let _turn = provider.turns.try_acquire().map_err(|_| OidcFault::Unavailable)?;
        let tokens = self.redeem(provider, &metadata, code, &pending.verifier()).await?;
        let claims = self.check_id_token(provider, &tokens, &pending.nonce()).await;
        let claims = claims.inspect_err(|fault| {
            warn!(provider = id, %fault, "the ID token of a provider is not acceptable");
        })?;
        let identity = identify(provider, &metadata, claims, &tokens).await?;
        let id_token_hint = Secret(tokens.id_token);
        Ok(Finished { identity, return_to: pending.return_to, id_token_hint })
    }

    /// Where a browser signs out at the provider, if the provider has such a place.
    /// `post_logout_redirect` must be registered there. Faults: `UnknownProvider`, `Unavailable`.
    pub async fn logout_url(
        &self,
        provider: &str,
        id_token_hint: Option<&str>,
        post_logout_redirect: Option<&str>,
    ) -> Result<Option<Url>, OidcFault> {
        let provider = self.provider(provider)?;
        let metadata = provider.metadata().await?;
        let Some(mut url) = metadata.end_session.clone() else { return Ok(None) };
        {
            let mut pairs = url.query_pairs_mut();
            pairs.append_pair("client_id", &provider.config.client_id);
            if let Some(hint) = id_token_hint {
                pairs.append_pair("id_token_hint", hint);
            }
            if let Some(redirect) = post_logout_redirect {
                pairs.append_pair("post_logout_redirect_uri", redirect);
            }
        }
        Ok(Some(url))
    }

    /// The one address that a provider may send browsers back to.
    fn redirect_uri(&self, provider: &Provider) -> String {
        format!("{}/api/v1/auth/oidc/{}/callback", self.site, provider.config.id)
    }

    async fn redeem(
        &self,
        provider: &Provider,
        metadata: &Metadata,
        code: &str,
        verifier: &str,
    ) -> Result<Tokens, OidcFault> {
        let (id, client) = (&provider.config.id, provider.config.client_id.as_str());
        let redirect_uri = self.redirect_uri(provider);
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &redirect_uri),
            ("code_verifier", verifier),
        ];
        let basic = match (&provider.config.client_secret, metadata.token_auth) {
            (Some(Secret(secret)), TokenAuth::Basic) => Some((client, secret.as_str())),
            (Some(Secret(secret)), TokenAuth::Post) => {
                form.extend([("client_id", client), ("client_secret", secret)]);
                None
            }
            (None, _) => {
                form.push(("client_id", client));
                None
            }
        };
        let answer = provider.fetcher.post_form(&metadata.token, &form, basic).await;
        let answer = answer.map_err(|error| {
            warn!(provider = id, %error, "a code could not be redeemed");
            OidcFault::Unavailable
        })?;
        let status = answer.status.as_u16();
        if answer.status.is_client_error() {
            let refusal: Refusal = read_json(&answer.body).unwrap_or_default();
            warn!(provider = id, status, error = word(&refusal.error), "a code was refused");
            return Err(OidcFault::Code);
        }
        if status != 200 {
            warn!(provider = id, status, "a code could not be redeemed");
            return Err(OidcFault::Unavailable);
        }
        read_json(&answer.body).map_err(|error| {
            warn!(provider = id, %error, "a code gave no ID token");
            OidcFault::Unavailable
        })
    }

    async fn check_id_token(
        &self,
        provider: &Provider,
        tokens: &Tokens,
        nonce: &str,
    ) -> Result<Claims, OidcFault> {
        let token = Compact::parse(&tokens.id_token)?;
        let (claims, _) = provider.verify(&token).await?;
        provider.check_id_token(&token, &claims, nonce, self.clock.now())?;
        if let Some(expected) = &claims.at_hash {
            let access_token = tokens.access_token.as_deref();
            if access_token.map(|text| token.half_hash(text)).as_ref() != Some(expected) {
                return Err(TokenFault::AccessHash.into());
            }
        }
        Ok(claims)
    }
}

/// RFC 9207: the answer says who it is from, and must if the provider promised it. Else somebody
/// could hand a code of one provider to another.
fn check_sender(callback: &Callback, metadata: &Metadata, issuer: &str) -> Result<(), OidcFault> {
    match &callback.iss {
        Some(iss) if iss != issuer => Err(OidcFault::Issuer),
        None if metadata.names_itself => Err(OidcFault::Issuer),
        _ => Ok(()),
    }
}

/// Many providers put the address into the userinfo answer alone; without it the sign-in goes on.
/// Fault: `Subject` when that answer is about somebody else.
async fn identify(
    provider: &Provider,
    metadata: &Metadata,
    claims: Claims,
    tokens: &Tokens,
) -> Result<ExternalIdentity, OidcFault> {
    let known = provider.identity(claims.sub, &claims.profile);
    let (Some(url), Some(access_token)) = (&metadata.userinfo, &tokens.access_token) else {
        return Ok(known);
    };
    if known.email.is_some() {
        return Ok(known);
    }
    let answer = provider.fetcher.document_as(url, access_token).await;
    let info: UserInfo = match answer.and_then(|body| read_json(&body)) {
        Ok(info) => info,
        Err(error) => {
            let id = &provider.config.id;
            warn!(provider = id, %error, "a provider tells no more about who signs in");
            return Ok(known);
        }
    };
    if info.sub != known.subject {
        return Err(TokenFault::Subject.into());
    }
    let told = provider.identity(known.subject, &info.profile);
    Ok(ExternalIdentity { name: told.name.or(known.name), ..told })
}

/// An error word of OAuth as it may be logged: what has another form is not one.
fn word(text: &str) -> &str {
    let is_word = (1..=ERROR_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if is_word { text } else { "?" }
}
