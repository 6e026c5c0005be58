//! Finds places of addresses at the rate of clicks. Each counter has a finder of its own.
//!
//! A database has many addresses and few records: a file of countries has some 250 of them. So a
//! finder goes down the trees for each address, which takes a few hundred nanoseconds and no
//! memory, and reads, cleans and joins the records themselves only when it has not met them before.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::database::Database;
use super::record::Record;
use super::{FILES_MAX, Place, Places, continents};

/// Records that a finder remembers, some 15 MB of cities. When there are more it forgets all of
/// them, which costs less than to know which ones are old.
const KNOWN_MAX: usize = 65_536;

/// The numbers of an address's records in each database; `NONE` where there is none.
type Records = [u32; FILES_MAX];
const NONE: u32 = u32::MAX;

/// The key of the place that nobody knows.
pub const NOWHERE: u32 = 0;

/// What a finder says of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Found {
    /// Keys are good as long as this stays the same; never zero.
    pub generation: u32,
    /// [`NOWHERE`], or what [`Finder::place`] takes. Small numbers, given out one after the other.
    pub key: u32,
}

/// The databases that serve at one time, in the order of the settings.
#[derive(Default)]
pub(super) struct Serving {
    /// Another one each time that a file was swapped.
    pub(super) version: u32,
    pub(super) databases: Vec<Arc<Database>>,
}

/// A handle for one thread, with a memory of its own.
pub struct Finder {
    places: Arc<Places>,
    serving: Arc<Serving>,
    generation: u32,
    /// Most entries of `found`.
    known_max: usize,
    keys: HashMap<Records, u32, foldhash::fast::RandomState>,
    /// By key.
    found: Vec<Place>,
}

impl Serving {
    /// The place of an address, joined from all databases.
    pub(super) fn place(&self, address: IpAddr) -> Place {
        let address = address.to_canonical();
        join(self.databases.iter().filter_map(|database| database.record(address)))
    }
}

impl Finder {
    pub(super) fn new(places: Arc<Places>) -> Self {
        Self::with_memory(places, KNOWN_MAX)
    }

    pub(super) fn with_memory(places: Arc<Places>, known_max: usize) -> Self {
        let serving = places.serving();
        let (keys, found) = (HashMap::default(), Vec::new());
        let mut finder = Self { places, serving, generation: 0, known_max, keys, found };
        finder.forget();
        finder
    }

    /// Where an address is. Takes no memory if addresses of the same records were found before.
    pub fn find(&mut self, address: IpAddr) -> Found {
        self.keep_up();
        let address = address.to_canonical();
        let mut records = [NONE; FILES_MAX];
        for (record, database) in records.iter_mut().zip(&self.serving.databases) {
            *record = database.record_number(address).unwrap_or(NONE);
        }
        let key = match self.keys.get(&records) {
            Some(key) => *key,
            None => self.learn(records, address),
        };
        Found { generation: self.generation, key }
    }

    /// The place of a key of the current generation; an unknown place for any other.
    pub fn place(&self, key: u32) -> &Place {
        self.found.get(key as usize).unwrap_or(&self.found[NOWHERE as usize])
    }

    /// Lets go of databases that were replaced. [`Finder::find`] does it as well; a counter without
    /// clicks should do it now and then, so that the memory of the old ones is given back.
    pub fn keep_up(&mut self) {
        if self.places.version() != self.serving.version {
            self.serving = self.places.serving();
            self.forget();
        }
    }

    #[cold]
    fn learn(&mut self, records: Records, address: IpAddr) -> u32 {
        if self.found.len() >= self.known_max {
            self.forget();
        }
        let key = self.found.len() as u32;
        self.found.push(self.serving.place(address));
        self.keys.insert(records, key);
        key
    }

    /// Begins a generation that knows of nothing but the address that no database has.
    fn forget(&mut self) {
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.keys.clear();
        self.keys.insert([NONE; FILES_MAX], NOWHERE);
        self.found.clear();
        self.found.push(Place::default());
    }
}

/// Joins what the databases say of one address, the earlier ones first. A later one adds what is
/// not known yet, but only if it agrees on everything that is: one that sees the address in another
/// country means another place, and its city would be one that this country does not have. The same
/// holds for region and city. A continent never disagrees; where one ends is a matter of taste.
fn join(records: impl Iterator<Item = Record>) -> Place {
    let mut place = Place::default();
    let mut registered = None;
    for Record { place: other, registered: owner } in records {
        registered = registered.or(owner);
        let pairs = [
            (&place.country, &other.country),
            (&place.region, &other.region),
            (&place.city, &other.city),
        ];
        if pairs.iter().all(|(known, said)| agree(known.as_deref(), said.as_deref())) {
            place.continent = place.continent.or(other.continent);
            place.country = place.country.or(other.country);
            place.region = place.region.or(other.region);
            place.city = place.city.or(other.city);
        }
    }
    // Satellites, for example: the owner's country is a guess, and better than none.
    place.country = place.country.or(registered);
    if place.continent.is_none() {
        let country = place.country.as_deref();
        place.continent = country.and_then(continents::of_country).map(Box::from);
    }
    place
}

fn agree(known: Option<&str>, said: Option<&str>) -> bool {
    known.is_none() || said.is_none() || known == said
}
