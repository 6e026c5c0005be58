//! Bodies of requests about people.

use utoipa::ToSchema;

/// What somebody is in a workspace.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum RoleWord {
    Viewer,
    Member,
    Admin,
    Owner,
}

/// An account to make.
#[derive(ToSchema)]
pub(crate) struct Register {
    #[schema(format = "email", max_length = 254, examples("name@example.com"))]
    pub(crate) email: String,
    /// By default at least 8 characters with upper case, lower case and a digit; none that is
    /// common.
    #[schema(min_length = 8, max_length = 128)]
    pub(crate) password: String,
    #[schema(max_length = 100, nullable = false)]
    pub(crate) name: Option<String>,
    /// The token of an invitation; needed where only those who are invited register.
    #[schema(nullable = false)]
    pub(crate) invitation: Option<String>,
    /// Put the tokens into cookies that scripts do not see, and not into the answer.
    #[schema(nullable = false)]
    pub(crate) cookies: Option<bool>,
}

/// Address and password.
#[derive(ToSchema)]
pub(crate) struct LogIn {
    #[schema(format = "email")]
    pub(crate) email: String,
    pub(crate) password: String,
    /// Where to; absent: the workspace of your own.
    #[schema(pattern = "^[0-9]{1,20}$", nullable = false)]
    pub(crate) workspace_id: Option<String>,
    /// Put the tokens into cookies that scripts do not see, and not into the answer.
    #[schema(nullable = false)]
    pub(crate) cookies: Option<bool>,
}

/// A refresh token. Absent: that of the cookie.
#[derive(ToSchema)]
pub(crate) struct Refresh {
    #[schema(pattern = "^shuntr_[0-9A-Za-z_-]{80}$", nullable = false)]
    pub(crate) refresh_token: Option<String>,
    /// The workspace to go on in; absent: the same.
    #[schema(pattern = "^[0-9]{1,20}$", nullable = false)]
    pub(crate) workspace_id: Option<String>,
}

/// A new password in place of the one that is.
#[derive(ToSchema)]
pub(crate) struct ChangePassword {
    pub(crate) current_password: String,
    #[schema(min_length = 8, max_length = 128)]
    pub(crate) new_password: String,
}

/// Whose password is forgotten.
#[derive(ToSchema)]
pub(crate) struct ForgotPassword {
    #[schema(format = "email")]
    pub(crate) email: String,
}

/// A new password, and the token of a mail.
#[derive(ToSchema)]
pub(crate) struct ResetPassword {
    #[schema(pattern = "^shuntp_[0-9A-Za-z_-]{43}$")]
    pub(crate) token: String,
    #[schema(min_length = 8, max_length = 128)]
    pub(crate) new_password: String,
}

/// The token of a mail.
#[derive(ToSchema)]
pub(crate) struct MailedToken {
    pub(crate) token: String,
}

/// What to change of yourself: absent fields stay.
#[derive(ToSchema)]
pub(crate) struct ChangeMe {
    #[schema(max_length = 100)]
    pub(crate) name: Option<String>,
    /// Has to be proven anew.
    #[schema(format = "email", nullable = false)]
    pub(crate) email: Option<String>,
    /// Your current one; needed for another address.
    #[schema(nullable = false)]
    pub(crate) password: Option<String>,
}

/// Your password, once more. Who has none, because a provider vouches for them, must have signed in
/// within ten minutes.
#[derive(ToSchema)]
pub(crate) struct Confirm {
    #[schema(nullable = false)]
    pub(crate) password: Option<String>,
}

/// A name.
#[derive(ToSchema)]
pub(crate) struct Named {
    #[schema(min_length = 1, max_length = 100)]
    pub(crate) name: String,
}

/// What a member is to be.
#[derive(ToSchema)]
pub(crate) struct ChangeMember {
    pub(crate) role: RoleWord,
}

/// Whom to invite.
#[derive(ToSchema)]
pub(crate) struct Invite {
    /// Where a mail goes; absent: hand the token over yourself.
    #[schema(format = "email", nullable = false)]
    pub(crate) email: Option<String>,
    /// Absent: member.
    #[schema(value_type = Option<RoleWord>, nullable = false)]
    pub(crate) role: Option<String>,
}
