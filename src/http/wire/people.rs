//! People on the wire: accounts, sessions, members, invitations.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::time_text;
use crate::domain::account::{Member, Role, User};
use crate::domain::id::Id;
use crate::domain::password::Password;
use crate::domain::time::Timestamp;
use crate::http::json::Reader;
use crate::http::openapi::shapes::RoleWord;
use crate::service::accounts::{
    InvitationDraft, Invited, Login, Profile, ProfileDraft, RegistrationDraft, SignedIn,
};
use crate::service::draft::{Field, FieldCode, FieldError};
use crate::storage::Workspace;
use crate::storage::people::Invitation;

/// A person with an account.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = User)]
pub(crate) struct UserView {
    #[schema(pattern = "^[0-9]{1,20}$")]
    pub(crate) id: String,
    #[schema(format = "email")]
    pub(crate) email: String,
    /// It was proven that the address is the user's.
    pub(crate) email_verified: bool,
    pub(crate) name: String,
    /// The workspace that was made for the user.
    #[schema(pattern = "^[0-9]{1,20}$")]
    pub(crate) workspace_id: String,
    #[schema(format = DateTime)]
    pub(crate) created_at: String,
    #[schema(format = DateTime)]
    pub(crate) updated_at: String,
}

/// What a session of somebody who signed in holds.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = SignedIn)]
pub(crate) struct SignedInView {
    pub(crate) user: UserView,
    /// Absent when cookies hold the tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) access_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) refresh_token: Option<String>,
    #[schema(pattern = "^Bearer$")]
    pub(crate) token_type: &'static str,
    /// Seconds that the access token is good for.
    pub(crate) expires_in: u64,
}

/// A workspace, and what the caller is in it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Workspace)]
pub(crate) struct WorkspaceView {
    #[schema(pattern = "^[0-9]{1,20}$")]
    pub(crate) id: String,
    pub(crate) name: String,
    #[schema(value_type = RoleWord)]
    pub(crate) role: &'static str,
    #[schema(format = DateTime)]
    pub(crate) created_at: String,
    #[schema(format = DateTime)]
    pub(crate) joined_at: String,
}

/// The caller, and where it belongs to.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Profile)]
pub(crate) struct ProfileView {
    #[serde(flatten)]
    pub(crate) user: UserView,
    pub(crate) workspaces: Vec<WorkspaceView>,
}

/// Somebody who belongs to a workspace.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Member)]
pub(crate) struct MemberView {
    /// The user's.
    #[schema(pattern = "^[0-9]{1,20}$")]
    pub(crate) id: String,
    #[schema(format = "email")]
    pub(crate) email: String,
    pub(crate) name: String,
    #[schema(value_type = RoleWord)]
    pub(crate) role: &'static str,
    #[schema(format = DateTime)]
    pub(crate) joined_at: String,
    pub(crate) disabled: bool,
}

/// An offer to belong to a workspace.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Invitation)]
pub(crate) struct InvitationView {
    #[schema(pattern = "^[0-9]{1,20}$")]
    pub(crate) id: String,
    #[schema(format = "email")]
    pub(crate) email: Option<String>,
    #[schema(value_type = RoleWord)]
    pub(crate) role: &'static str,
    /// The user, or the key that is nobody's.
    #[schema(pattern = "^[0-9]{1,20}$")]
    pub(crate) invited_by: String,
    #[schema(format = DateTime)]
    pub(crate) created_at: String,
    #[schema(format = DateTime)]
    pub(crate) expires_at: String,
}

/// An invitation with its text, shown this once.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = NewInvitation)]
pub(crate) struct NewInvitationView {
    #[serde(flatten)]
    pub(crate) about: InvitationView,
    #[schema(pattern = "^shunti_[0-9A-Za-z_-]{43}$")]
    pub(crate) token: String,
}

/// Where somebody belongs to from now on.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Membership)]
pub(crate) struct MembershipView {
    #[schema(pattern = "^[0-9]{1,20}$")]
    pub(crate) workspace_id: String,
    #[schema(value_type = RoleWord)]
    pub(crate) role: &'static str,
    #[schema(format = DateTime)]
    pub(crate) joined_at: String,
}

/// Where a session at a provider is ended.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Logout)]
pub(crate) struct LogoutView {
    /// Where to send the browser; null: the provider has no such place, or cannot be asked.
    #[schema(format = "uri")]
    pub(crate) logout_url: Option<String>,
}

impl From<&User> for UserView {
    fn from(user: &User) -> Self {
        Self {
            id: user.id.to_string(),
            email: user.email.as_str().to_owned(),
            email_verified: user.email_verified_at.is_some(),
            name: user.name.clone(),
            workspace_id: user.workspace.to_string(),
            created_at: time_text(user.created_at),
            updated_at: time_text(user.updated_at),
        }
    }
}

impl SignedInView {
    /// With the tokens, or without where cookies hold them.
    pub(crate) fn new(signed_in: &SignedIn, with_tokens: bool) -> Self {
        let show = |token: &str| with_tokens.then(|| token.to_owned());
        Self {
            user: UserView::from(&signed_in.user),
            access_token: show(&signed_in.access_token),
            refresh_token: show(signed_in.refresh_token.as_str()),
            token_type: "Bearer",
            expires_in: seconds(signed_in.now, signed_in.access_expires_at),
        }
    }
}

/// Whole seconds from one time to another.
pub(crate) fn seconds(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from((to.as_millis() - from.as_millis()) / 1_000).unwrap_or(0)
}

impl WorkspaceView {
    pub(crate) fn new(workspace: &Workspace, member: &Member) -> Self {
        Self {
            id: workspace.id.to_string(),
            name: workspace.name.clone(),
            role: member.role.as_str(),
            created_at: time_text(workspace.created_at),
            joined_at: time_text(member.joined_at),
        }
    }
}

impl From<&Profile> for ProfileView {
    fn from(profile: &Profile) -> Self {
        let workspaces = profile.memberships.iter();
        Self {
            user: UserView::from(&profile.user),
            workspaces: workspaces.map(|(own, member)| WorkspaceView::new(own, member)).collect(),
        }
    }
}

impl MemberView {
    pub(crate) fn new(member: &Member, user: &User) -> Self {
        Self {
            id: user.id.to_string(),
            email: user.email.as_str().to_owned(),
            name: user.name.clone(),
            role: member.role.as_str(),
            joined_at: time_text(member.joined_at),
            disabled: user.disabled_at.is_some(),
        }
    }
}

impl From<&Invitation> for InvitationView {
    fn from(invitation: &Invitation) -> Self {
        Self {
            id: invitation.id.to_string(),
            email: invitation.email.as_ref().map(|email| email.as_str().to_owned()),
            role: invitation.role.as_str(),
            invited_by: invitation.invited_by.to_string(),
            created_at: time_text(invitation.created_at),
            expires_at: time_text(invitation.expires_at),
        }
    }
}

impl From<&Invited> for NewInvitationView {
    fn from(invited: &Invited) -> Self {
        let token = invited.ticket.as_str().to_owned();
        Self { about: InvitationView::from(&invited.invitation), token }
    }
}

impl From<&Member> for MembershipView {
    fn from(member: &Member) -> Self {
        Self {
            workspace_id: member.workspace.to_string(),
            role: member.role.as_str(),
            joined_at: time_text(member.joined_at),
        }
    }
}

type Faults = Vec<FieldError>;

/// Address and password, and how the session is to be kept.
pub(crate) struct LoginBody {
    pub(crate) login: Login,
    pub(crate) cookies: bool,
}

/// A request to register.
pub(crate) struct RegisterBody {
    pub(crate) draft: RegistrationDraft,
    pub(crate) cookies: bool,
}

/// A request to go on with a session. Without a token the cookie counts.
pub(crate) struct RefreshBody {
    pub(crate) token: Option<String>,
    pub(crate) workspace: Option<Id>,
}

/// Takes an object apart with `read`.
pub(crate) fn read<T>(value: Value, read: impl FnOnce(&mut Reader) -> T) -> Result<T, Faults> {
    let mut reader = Reader::open(value, "").map_err(|fault| vec![fault])?;
    let body = read(&mut reader);
    let faults = reader.close();
    if faults.is_empty() { Ok(body) } else { Err(faults) }
}

/// A text that has to be there.
pub(crate) fn required(reader: &mut Reader, name: &str) -> String {
    match reader.string(name) {
        Field::Set(text) => text,
        Field::Absent | Field::Null => {
            reader.refuse(name, FieldCode::Required, "this field is needed");
            String::new()
        }
    }
}

/// A password that has to be there.
pub(crate) fn password(reader: &mut Reader, name: &str) -> Password {
    Password::new(required(reader, name))
}

fn flag(reader: &mut Reader, name: &str) -> bool {
    reader.boolean(name).given().unwrap_or(false)
}

fn id(reader: &mut Reader, name: &str) -> Option<Id> {
    let text = reader.string(name).given()?;
    let id = text.parse().ok();
    if id.is_none() {
        reader.refuse(name, FieldCode::InvalidValue, "expected an id, which is digits");
    }
    id
}

fn role(reader: &mut Reader, name: &str) -> Option<Role> {
    let words: Vec<_> = Role::ALL.iter().map(|role| role.as_str()).collect();
    reader.word(name, &words, Role::from_word).given()
}

pub(crate) fn login_body(value: Value) -> Result<LoginBody, Faults> {
    read(value, |reader| LoginBody {
        login: Login {
            email: required(reader, "email"),
            password: password(reader, "password"),
            workspace: id(reader, "workspace_id"),
        },
        cookies: flag(reader, "cookies"),
    })
}

pub(crate) fn register_body(value: Value) -> Result<RegisterBody, Faults> {
    read(value, |reader| RegisterBody {
        draft: RegistrationDraft {
            email: required(reader, "email"),
            password: password(reader, "password"),
            name: reader.string("name").given(),
            invitation: reader.string("invitation").given(),
        },
        cookies: flag(reader, "cookies"),
    })
}

pub(crate) fn refresh_body(value: Value) -> Result<RefreshBody, Faults> {
    read(value, |reader| RefreshBody {
        token: reader.string("refresh_token").given(),
        workspace: id(reader, "workspace_id"),
    })
}

pub(crate) fn profile_draft(value: Value) -> Result<ProfileDraft, Faults> {
    read(value, |reader| ProfileDraft {
        name: reader.string("name"),
        email: reader.string("email"),
        password: reader.string("password").given().map(Password::new),
    })
}

pub(crate) fn invitation_draft(value: Value) -> Result<InvitationDraft, Faults> {
    read(value, |reader| InvitationDraft {
        email: reader.string("email").given(),
        role: role(reader, "role").unwrap_or(Role::Member),
    })
}

pub(crate) fn role_body(value: Value) -> Result<Role, Faults> {
    read(value, |reader| match role(reader, "role") {
        Some(role) => role,
        None => {
            if !reader.has_faults() {
                reader.refuse("role", FieldCode::Required, "this field is needed");
            }
            Role::Viewer
        }
    })
}
