//! A provider that tests steer, on a real socket, and the keys that it signs with.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod bearers;
mod documents;
mod sign_in;

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::domain::units::Span;

/// A second in 2026.
const NOW: i64 = 1_780_000_000;
const AUDIENCE: &str = "https://go.example/api";
const CLIENT: &str = "shunt";
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// A clock that tests set.
struct HandClock(AtomicI64);

impl HandClock {
    fn pass(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// What the provider answers on a path.
#[derive(Clone)]
enum Reply {
    Json(Value),
    /// A whole answer after `HTTP/1.1 `.
    Raw(String),
    /// Takes the request and says nothing.
    Silence,
}

/// The provider.
struct Fake {
    issuer: String,
    replies: Mutex<HashMap<String, Reply>>,
    /// Head and body of every request.
    requests: Mutex<Vec<String>>,
}

impl Fake {
    /// Serves discovery and `keys` on a free port, for as long as the test runs.
    async fn start(keys: &[&Signer]) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let fake = Arc::new(Self { issuer, replies: Mutex::default(), requests: Mutex::default() });
        fake.reply(DISCOVERY, Reply::Json(fake.metadata()));
        fake.publish(keys);
        let served = Arc::clone(&fake);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&served).answer(stream));
            }
        });
        fake
    }

    fn metadata(&self) -> Value {
        let at = |path: &str| format!("{}{path}", self.issuer);
        json!({
            "issuer": self.issuer,
            "authorization_endpoint": at("/auth"),
            "token_endpoint": at("/token"),
            "jwks_uri": at("/jwks"),
            "end_session_endpoint": at("/logout?x=1"),
        })
    }

    fn publish(&self, keys: &[&Signer]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        self.reply("/jwks", Reply::Json(json!({ "keys": keys })));
    }

    fn reply(&self, path: &str, reply: Reply) {
        self.replies.lock().unwrap().insert(path.to_owned(), reply);
    }

    /// Requests to a path so far.
    fn asked(&self, path: &str) -> usize {
        let requests = self.requests.lock().unwrap();
        requests.iter().filter(|text| text.split(' ').nth(1) == Some(path)).count()
    }

    /// The last request to a path.
    fn last(&self, path: &str) -> String {
        let requests = self.requests.lock().unwrap();
        let found = requests.iter().rev().find(|text| text.split(' ').nth(1) == Some(path));
        found.cloned().unwrap()
    }

    async fn answer(self: Arc<Self>, mut stream: TcpStream) {
        let mut seen = Vec::new();
        let text = loop {
            let mut part = [0; 4_096];
            let Ok(n @ 1..) = stream.read(&mut part).await else { return };
            seen.extend_from_slice(&part[..n]);
            let text = String::from_utf8_lossy(&seen).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                break text;
            }
        };
        let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
        self.requests.lock().unwrap().push(text);
        let reply = self.replies.lock().unwrap().get(&path).cloned();
        let answer = match reply {
            Some(Reply::Json(body)) => json_answer("200 OK", &body),
            Some(Reply::Raw(answer)) => answer,
            Some(Reply::Silence) => return std::future::pending().await,
            None => json_answer("404 Not Found", &json!({})),
        };
        let _ = stream.write_all(format!("HTTP/1.1 {answer}").as_bytes()).await;
    }

    fn config(&self) -> ProviderConfig {
        ProviderConfig {
            id: "acme".to_owned(),
            name: "Acme".to_owned(),
            issuer: self.issuer.clone(),
            client_id: CLIENT.to_owned(),
            client_secret: Some(Secret("s3cr:t/ä".to_owned())),
            audiences: vec![AUDIENCE.to_owned()],
            ..ProviderConfig::default()
        }
    }

    fn claims(&self) -> Value {
        json!({
            "iss": self.issuer, "sub": "u1", "aud": AUDIENCE, "exp": NOW + 300, "iat": NOW,
            "email": "ada@example.com", "email_verified": true, "name": "Ada",
        })
    }
}

fn json_answer(status: &str, body: &Value) -> String {
    let body = body.to_string();
    format!(
        "{status}\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}

/// All providers that `configs` name, on a clock that stands still.
fn oidc(configs: Vec<ProviderConfig>) -> (Oidc, Arc<HandClock>) {
    let clock = Arc::new(HandClock(AtomicI64::new(NOW * 1_000)));
    let config = OidcConfig { providers: configs };
    let oidc = Oidc::new(&config, "https://go.example/", &[9; 32], Arc::clone(&clock) as _);
    (oidc.unwrap(), clock)
}

/// As `oidc`, with one provider that publishes `keys`.
async fn start(keys: &[&Signer]) -> (Arc<Fake>, Oidc, Arc<HandClock>) {
    let fake = Fake::start(keys).await;
    let (oidc, clock) = oidc(vec![fake.config()]);
    (fake, oidc, clock)
}

/// A key pair with a name.
#[derive(Clone)]
struct Signer {
    id: String,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Signer {
    fn ed(id: &str) -> Self {
        let pair = Ed25519KeyPair::generate_pkcs8v1(&aws_lc_rs::rand::SystemRandom::new()).unwrap();
        let key = EncodingKey::from_ed_der(pair.as_ref());
        Self { id: id.to_owned(), algorithm: Algorithm::EdDSA, key }
    }

    fn ec(id: &str) -> Self {
        let random = aws_lc_rs::rand::SystemRandom::new();
        let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let key = EncodingKey::from_ec_der(pair.as_ref());
        Self { id: id.to_owned(), algorithm: Algorithm::ES256, key }
    }

    /// Made once, because making one takes a while.
    fn rsa(id: &str) -> Self {
        static KEY: OnceLock<EncodingKey> = OnceLock::new();
        let key = KEY.get_or_init(|| {
            let pair = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).unwrap();
            let der = STANDARD.encode(pair.as_der().unwrap().as_ref());
            let lines: Vec<&str> =
                der.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
            let body = lines.join("\n");
            let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
            EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap()
        });
        Self { id: id.to_owned(), algorithm: Algorithm::RS256, key: key.clone() }
    }

    fn jwk(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.id.clone());
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["use"] = json!("sig");
        jwk
    }

    fn header(&self) -> Value {
        json!({ "alg": self.algorithm, "kid": self.id, "typ": "at+jwt" })
    }

    fn token(&self, claims: &Value) -> String {
        self.token_with(&self.header(), claims)
    }

    /// Signs with this key, whatever the header says.
    fn token_with(&self, header: &Value, claims: &Value) -> String {
        self.sign(&header.to_string(), &claims.to_string())
    }

    fn sign(&self, header: &str, claims: &str) -> String {
        let message = message(header, claims);
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }
}

fn message(header: &str, claims: &str) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
}

/// `value` with one member changed; `null` takes it out.
fn with(mut value: Value, name: &str, member: Value) -> Value {
    match member {
        Value::Null => drop(value.as_object_mut().unwrap().remove(name)),
        member => value[name] = member,
    }
    value
}

fn short_waits(config: ProviderConfig) -> ProviderConfig {
    ProviderConfig { http_timeout: Span::from_millis(200), ..config }
}
