//! What is left on the disk of people who were erased: nothing, however the rows of others were
//! moved about meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use futures_util::future::join_all;
use shunt::domain::account::{Role, User};
use shunt::domain::email::Email;
use shunt::domain::id::Id;
use shunt::storage::embedded::{Embedded, Mode};
use shunt::storage::people::{Erasure, Invitation, NewUser, UserAdded, UserChange};
use shunt::storage::{Stores, Workspace};

use crate::make::{NOW, id};

/// People who come, in all.
const N_PEOPLE: usize = 4_000;
/// Calls at once: their rows change in one transaction.
const AT_ONCE: usize = 64;
/// Bytes of a word that names somebody: a letter, the number, a letter.
const WORD_BYTES: usize = 8;

/// Words that name somebody, so often that each piece of the text tells who it is.
fn words(number: usize, times: u64) -> String {
    format!("q{number:06}z").repeat(times as usize)
}

/// Numbers of those whose words are in the files below `folder`.
fn named(folder: &Path) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(named(&path));
            continue;
        }
        let bytes = std::fs::read(&path).unwrap().to_ascii_lowercase();
        let whole = bytes.windows(WORD_BYTES).filter(|word| word[0] == b'q' && word[7] == b'z');
        found.extend(
            whole.filter_map(|word| std::str::from_utf8(&word[1..7]).ok()?.parse::<usize>().ok()),
        );
    }
    found
}

/// The same numbers in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888);
        (self.0 >> 33) % n
    }
}

/// Who is there, and the store that they are in.
struct Town {
    stores: Stores,
    dice: Dice,
    here: BTreeMap<usize, User>,
    gone: BTreeSet<usize>,
    n_came: usize,
}

impl Town {
    /// An address of another length each time. Scattered, so that rows come between others.
    fn email(&mut self, number: usize) -> Email {
        let (scatter, times) = (self.dice.below(1 << 40), 1 + self.dice.below(6));
        let text = format!("{scatter:x}.{}@example.com", words(number, times));
        Email::parse(&text).unwrap()
    }

    fn name(&mut self, number: usize) -> String {
        // Of very different lengths, so that rows seldom fit where others were.
        let times = 1 + self.dice.below(60);
        words(number, times).to_uppercase()
    }

    fn hash(&mut self) -> String {
        "h".repeat(80 + self.dice.below(40) as usize)
    }

    async fn come(&mut self, n: usize) {
        let mut adding = Vec::new();
        for _ in 0..n {
            self.n_came += 1;
            let number = self.n_came;
            let user = User {
                id: id(),
                email: self.email(number),
                email_verified_at: None,
                name: self.name(number),
                password: Some(self.hash()),
                workspace: id(),
                created_at: NOW,
                updated_at: NOW,
                disabled_at: None,
            };
            let workspace = Workspace {
                id: user.workspace,
                name: self.name(number),
                operator: false,
                created_at: NOW,
            };
            self.here.insert(number, user.clone());
            let identity = (self.dice.below(4) == 0)
                .then(|| ("https://issuer.example".to_owned(), self.name(number)));
            adding.push(NewUser { user, workspace, identity, invitation: None });
        }
        let users = &self.stores.users;
        for added in join_all(adding.into_iter().map(|new| users.add_user(new))).await {
            assert_eq!(added.unwrap(), UserAdded::Done);
        }
    }

    /// Some of those who are here, none twice.
    fn some(&mut self, n: usize) -> Vec<usize> {
        let numbers: Vec<usize> = self.here.keys().copied().collect();
        let drawn = (0..n).map(|_| numbers[self.dice.below(numbers.len() as u64) as usize]);
        drawn.collect::<BTreeSet<_>>().into_iter().collect()
    }

    async fn change(&mut self, n: usize) {
        let mut changing = Vec::new();
        for number in self.some(n) {
            let (name, email) = (Some(self.name(number)), Some(self.email(number)));
            let hash = self.hash();
            let user = self.here.get_mut(&number).unwrap();
            let before = user.password.replace(hash.clone()).unwrap();
            changing.push((user.id, UserChange { name, email }, before, hash));
        }
        let users = &self.stores.users;
        let changes = changing.into_iter().map(async |(id, change, before, hash)| {
            users.change_user(id, change, NOW).await.unwrap();
            users.rehash_password(id, &before, &hash).await.unwrap();
        });
        join_all(changes).await;
    }

    /// Somebody invites somebody else, whose address the offer holds.
    async fn invite(&mut self, n: usize) {
        for number in self.some(n) {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&id().0.to_le_bytes());
            let invitation = Invitation {
                id: id(),
                workspace: self.here[&number].workspace,
                digest,
                email: Some(self.email(number)),
                role: Role::Viewer,
                invited_by: self.here[&number].id,
                created_at: NOW,
                expires_at: NOW.plus_millis(1),
            };
            assert!(self.stores.teams.add_invitation(invitation, 100).await.unwrap());
        }
    }

    async fn go(&mut self, n: usize) {
        let going: Vec<usize> = self.some(n);
        let ids: Vec<Id> = going.iter().map(|number| self.here[number].id).collect();
        let users = &self.stores.users;
        for erased in join_all(ids.into_iter().map(|id| users.erase_user(id, NOW))).await {
            assert!(matches!(erased.unwrap(), Erasure::Done { .. }));
        }
        for number in going {
            self.here.remove(&number);
            self.gone.insert(number);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_thousands_who_come_and_go_those_who_went_are_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(folder.path(), Mode::Create).unwrap();
    let (stores, dice) = (store.stores(), Dice(7));
    let (here, gone) = (BTreeMap::new(), BTreeSet::new());
    let mut town = Town { stores, dice, here, gone, n_came: 0 };
    while town.n_came < N_PEOPLE {
        town.come(AT_ONCE).await;
        town.change(AT_ONCE).await;
        town.invite(AT_ONCE / 8).await;
        if town.n_came > N_PEOPLE / 4 {
            town.go(AT_ONCE * 3 / 4).await;
        }
    }
    store.close();
    let named = named(folder.path());
    let left: Vec<usize> = town.gone.intersection(&named).copied().collect();
    assert_eq!(left, Vec::<usize>::new(), "{} of {} left traces", left.len(), town.gone.len());
    let lost: Vec<&usize> = town.here.keys().filter(|number| !named.contains(number)).collect();
    assert_eq!(lost, Vec::<&usize>::new(), "they were not to be erased");
}
