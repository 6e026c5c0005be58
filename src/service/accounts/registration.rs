//! Making an account.

use std::net::IpAddr;

use super::telling::on_user;
use super::{AccountError, Accounts, NAME_CHARS_MAX, SignedIn};
use crate::domain::account::User;
use crate::domain::audit::AuditAction;
use crate::domain::email::Email;
use crate::domain::password::Password;
use crate::domain::ticket::TicketKind;
use crate::domain::time::Clock;
use crate::service::bootstrap::Registration;
use crate::service::draft::{FieldCode, FieldError};
use crate::service::ids::IdSource;
use crate::storage::Workspace;
use crate::storage::people::{NewUser, UserAdded, UserStore};

/// What somebody wants an account to be.
pub struct RegistrationDraft {
    pub email: String,
    pub password: Password,
    pub name: Option<String>,
    /// The text of an invitation, which is used up.
    pub invitation: Option<String>,
}

/// An account that is known to be wanted.
pub struct NewAccount {
    pub email: Email,
    /// It was proven elsewhere that the address is the user's.
    pub email_verified: bool,
    pub name: String,
    /// PHC string.
    pub password: Option<String>,
    /// Issuer and subject at a provider.
    pub identity: Option<(String, String)>,
    /// Digest of an invitation.
    pub invitation: Option<[u8; 32]>,
}

impl Accounts {
    /// Makes an account with a workspace of its own, and signs its owner in.
    pub async fn register(
        &self,
        draft: RegistrationDraft,
        client: IpAddr,
    ) -> Result<SignedIn, AccountError> {
        let user = self.sign_up(draft, client).await?;
        self.open_session(user, None, client).await
    }

    /// Makes an account as somebody wants it, and sends the mail that proves its address.
    pub(super) async fn sign_up(
        &self,
        draft: RegistrationDraft,
        client: IpAddr,
    ) -> Result<User, AccountError> {
        let invitation = match (self.parts.registration, &draft.invitation) {
            (Registration::Closed, _) => return Err(AccountError::RegistrationClosed),
            (Registration::Invite, None) => return Err(AccountError::InvitationNeeded),
            (_, None) => None,
            (_, Some(text)) => Some(self.digest_of(TicketKind::Invitation, text)?),
        };
        let email = parse_email(&draft.email)?;
        self.check_way_in(email.as_str())?;
        let name = draft.name.unwrap_or_default();
        check_name("/name", &name, 0).map_err(|fault| AccountError::Invalid(vec![fault]))?;

        let attempt = self.parts.limits.registration(client).await?;
        let made = self.make(draft.password, email, name, invitation).await;
        // Only what costs something counts: an account, or the knowledge that there is one.
        if !matches!(made, Ok(_) | Err(AccountError::EmailTaken | AccountError::InvalidTicket)) {
            attempt.cancelled().await;
        }
        let user = made?;
        let act = self.act_of(user.id, user.workspace, Some(client));
        self.tell(act.entry(AuditAction::UserRegister, on_user(user.id))).await;
        self.send_verification(&user).await?;
        Ok(user)
    }

    async fn make(
        &self,
        password: Password,
        email: Email,
        name: String,
        invitation: Option<[u8; 32]>,
    ) -> Result<User, AccountError> {
        let own = vec![email.as_str().to_owned(), name.clone()];
        let password = Some(self.parts.passwords.hash_new(password, own).await?);
        self.add_account(NewAccount {
            email,
            email_verified: false,
            name,
            password,
            identity: None,
            invitation,
        })
        .await
    }

    /// Adds an account. Kinds: `EmailTaken`, `InvalidTicket` for an invitation that is over.
    pub async fn add_account(&self, new: NewAccount) -> Result<User, AccountError> {
        let parts = &self.parts;
        add_account(&*parts.stores.users, &parts.ids, &*parts.clock, new).await
    }
}

/// Adds an account with a workspace of its own. Kinds: `EmailTaken`, `InvalidTicket`.
pub(super) async fn add_account(
    users: &dyn UserStore,
    ids: &IdSource,
    clock: &dyn Clock,
    new: NewAccount,
) -> Result<User, AccountError> {
    let (id, workspace) = (ids.next().await?, ids.next().await?);
    let now = clock.now();
    let user = User {
        id,
        email: new.email,
        email_verified_at: new.email_verified.then_some(now),
        name: new.name,
        password: new.password,
        workspace,
        created_at: now,
        updated_at: now,
        disabled_at: None,
    };
    let own =
        Workspace { id: workspace, name: "Personal".to_owned(), operator: false, created_at: now };
    let new = NewUser {
        user: user.clone(),
        workspace: own,
        identity: new.identity,
        invitation: new.invitation,
    };
    match users.add_user(new).await? {
        UserAdded::Done => Ok(user),
        UserAdded::EmailTaken | UserAdded::IdentityTaken => Err(AccountError::EmailTaken),
        UserAdded::NotInvited => Err(AccountError::InvalidTicket),
    }
}

/// Reads an address. Kinds: `Invalid`.
pub(super) fn parse_email(text: &str) -> Result<Email, AccountError> {
    Email::parse(text.trim()).map_err(|error| {
        let fault = FieldError::new("/email", FieldCode::InvalidValue, error.to_string());
        AccountError::Invalid(vec![fault])
    })
}

/// A name that can be shown in a line.
pub(super) fn check_name(pointer: &str, name: &str, chars_min: usize) -> Result<(), FieldError> {
    let chars = name.chars().count();
    if !(chars_min..=NAME_CHARS_MAX).contains(&chars) {
        let detail = format!("a name has {chars_min} to {NAME_CHARS_MAX} characters");
        return Err(FieldError::new(pointer, FieldCode::OutOfRange, detail));
    }
    if name.chars().any(char::is_control) {
        let detail = "control characters are not allowed";
        return Err(FieldError::new(pointer, FieldCode::ControlCharacter, detail));
    }
    Ok(())
}
