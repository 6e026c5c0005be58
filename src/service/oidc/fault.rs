//! Why a sign-in or a token came to nothing. What the provider said stays in the log.

/// A refusal, for the caller to put into words. Never holds a token, nor text of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OidcFault {
    /// No provider has this id.
    #[error("there is no such provider")]
    UnknownProvider,
    /// The provider is away or its documents are of no use. Passes, perhaps.
    #[error("the provider cannot be reached")]
    Unavailable,
    /// The system gives no random bytes.
    #[error("no random bytes")]
    Entropy,
    /// The place to return to is not a path of this site.
    #[error("the place to return to is not a path of this site")]
    ReturnTo,
    /// The answer does not belong to a sign-in that this browser began less than ten minutes ago.
    #[error("this sign-in was not begun here, or too long ago")]
    State,
    /// The answer is of another provider than the one that was asked.
    #[error("the answer comes from another provider")]
    Issuer,
    /// The parameters of the answer make no sense.
    #[error("the answer of the provider makes no sense")]
    Callback,
    /// The person, or the provider, said no.
    #[error("the provider did not let the sign-in happen")]
    Denied,
    /// The provider did not take the code, or not this client.
    #[error("the provider refused the code")]
    Code,
    /// A token is not acceptable.
    #[error("{0}")]
    Token(#[from] TokenFault),
}

/// What is wrong with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    #[error("it is no signed token")]
    Malformed,
    #[error("its header asks for something that is not taken")]
    Header,
    #[error("its issuer is no provider whose tokens are taken")]
    Issuer,
    #[error("its signature is of a kind that is not taken")]
    Algorithm,
    #[error("the provider has no such key")]
    Key,
    #[error("its signature is wrong")]
    Signature,
    #[error("its claims are incomplete or of the wrong type")]
    Claims,
    #[error("it is for others")]
    Audience,
    #[error("it was given to another party")]
    Party,
    #[error("it has expired")]
    Expired,
    #[error("it is not valid yet")]
    NotYet,
    #[error("it belongs to another sign-in")]
    Nonce,
    #[error("it belongs to another access token")]
    AccessHash,
    #[error("it is about somebody else")]
    Subject,
}
