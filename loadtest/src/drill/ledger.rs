//! What an outside observer knows: which links were promised, which redirects were answered,
//! which were under way when the server died. The server's word is held against it.

use crate::answer::Answer;

/// Deviations that are kept in full; of the rest only the number.
const EXAMPLES_MAX: usize = 10;

/// One link whose creation was answered with 201.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promised {
    pub code: String,
    pub destination: String,
    /// Redirects answered.
    pub n_acked: u64,
    /// Redirects whose answer never arrived: counted or not, both are right.
    pub n_in_flight: u64,
    /// In which round a redirect was last asked for.
    pub touched_in: usize,
}

/// All promises so far, and how often one was broken.
#[derive(Debug, Default)]
pub struct Ledger {
    pub links: Vec<Promised>,
    pub deviations: Deviations,
}

/// Broken promises: their number and some of them.
#[derive(Debug, Default)]
pub struct Deviations {
    pub n: u64,
    pub examples: Vec<String>,
}

impl Deviations {
    pub fn add(&mut self, text: String) {
        self.n += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(text);
        }
    }

    pub fn add_all(&mut self, texts: impl IntoIterator<Item = String>) {
        texts.into_iter().for_each(|text| self.add(text));
    }
}

impl Promised {
    pub fn new(code: String, destination: String) -> Self {
        Self { code, destination, n_acked: 0, n_in_flight: 0, touched_in: 0 }
    }

    /// Whether `n_counted` clicks fit what was observed.
    pub fn fits(&self, n_counted: u64) -> bool {
        (self.n_acked..=self.n_acked + self.n_in_flight).contains(&n_counted)
    }

    /// Whether this answer keeps the promise.
    pub fn kept_by(&self, answer: &Answer<'_>) -> bool {
        answer.status == 302 && answer.location == Some(self.destination.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promised(n_acked: u64, n_in_flight: u64) -> Promised {
        let mut link = Promised::new("spring".to_owned(), "https://a.example/".to_owned());
        (link.n_acked, link.n_in_flight) = (n_acked, n_in_flight);
        link
    }

    #[test]
    fn a_count_may_differ_by_what_was_in_flight_and_no_more() {
        let link = promised(10, 2);
        let fitting: Vec<u64> = (0..20).filter(|n| link.fits(*n)).collect();
        assert_eq!(fitting, [10, 11, 12]);
    }

    #[test]
    fn another_target_or_status_breaks_the_promise() {
        let link = promised(0, 0);
        let answer = |status, location: &'static [u8]| Answer {
            status,
            location: Some(location),
            closes: false,
        };
        assert!(link.kept_by(&answer(302, b"https://a.example/")));
        assert!(!link.kept_by(&answer(302, b"https://b.example/")));
        assert!(!link.kept_by(&answer(404, b"https://a.example/")));
    }

    #[test]
    fn deviations_beyond_the_examples_are_counted() {
        let mut deviations = Deviations::default();
        for n in 0..100 {
            deviations.add(n.to_string());
        }
        assert_eq!((deviations.n, deviations.examples.len()), (100, EXAMPLES_MAX));
    }
}
