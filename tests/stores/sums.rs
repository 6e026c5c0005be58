//! What the clicks of a link add up to: by day, hour and dimension, people and bots apart.

use shunt::domain::click::ClickFlags;
use shunt::domain::counted::{CountedClick, Surplus};
use shunt::domain::day::{Counts, DayStats, Dimension, Parts, Times};
use shunt::domain::id::Id;
use shunt::domain::limits::DIMENSION_VALUES_MAX;
use shunt::domain::stats::BucketStats;
use shunt::domain::words::Lexicon;
use shunt::storage::{StatsOf, Stores};

use crate::clicks::flush;
use crate::make::{Flush, at, click};
use crate::tell::{Hour, all_of, ask, people};

const LINK: Id = Id(9);
const DAY: u32 = 20_000;
const MINUTE: u32 = DAY * 1_440;

fn bots(bots: u64) -> Counts {
    Counts { people: 0, bots }
}

/// Two people, one of them twice, and a bot; the second day has one of the people again.
fn visits() -> Flush {
    let mut more = Flush::default();
    let phone = more.word(&["mobile", "iOS", "Safari"]);
    let robot = more.word(&["bot", "", "Crawler"]);
    let berlin = more.word(&["EU", "DE", "DE-BE", "Berlin"]);
    let paris = more.word(&["EU", "FR", "", "Paris"]);
    let news = more.word(&["news.example", "https://news.example/a"]);
    let also_news = more.word(&["news.example", "https://news.example/b"]);
    let german = more.word(&["de"]);
    let mail = more.word(&["mail", "letter", "spring", "shoes", "top"]);
    let plain = |minute, serial| click(LINK, at(minute, 7), serial);
    more.clicks = vec![
        CountedClick {
            visitor: 1 << 40,
            agent: phone,
            place: berlin,
            referrer: news,
            language: german,
            utm: mail,
            ..plain(MINUTE, 1)
        },
        CountedClick {
            visitor: 1 << 40,
            agent: phone,
            place: berlin,
            referrer: also_news,
            flags: ClickFlags::QR,
            version: 2,
            ..plain(MINUTE + 1, 2)
        },
        CountedClick { visitor: 2 << 40, place: paris, ..plain(MINUTE + 1_439, 3) },
        CountedClick {
            visitor: 3 << 40,
            agent: robot,
            place: paris,
            flags: ClickFlags::BOT.with(ClickFlags::QR),
            ..plain(MINUTE + 2, 4)
        },
        CountedClick { visitor: 1 << 40, flags: ClickFlags::PRIVATE, ..plain(MINUTE + 1_440, 5) },
    ];
    more
}

pub(crate) async fn a_link_is_told_by_day_hour_and_dimension(stores: Stores) {
    flush(&stores, vec![visits().of(1, 0, 5)]).await.unwrap();
    let told = all_of(&stores, LINK).await;
    let hour = |hour, counts, qr_scans, visitors| Hour { hour, counts, qr_scans, visitors };
    assert_eq!(
        told.days[&DAY].hours,
        [hour(0, Counts { people: 2, bots: 1 }, 1, (1, 1)), hour(23, people(1), 0, (1, 0))]
    );
    assert_eq!(told.days[&(DAY + 1)].hours, [hour(0, people(1), 0, (1, 0))]);
    let times = |first, last| Some(Times { first: at(first, 7), last: at(last, 7) });
    assert_eq!(told.days[&DAY].people_at, times(MINUTE, MINUTE + 1_439));
    assert_eq!(told.days[&DAY].bots_at, times(MINUTE + 2, MINUTE + 2));
    let expected = [
        (Dimension::Continent, "EU", Counts { people: 3, bots: 1 }),
        (Dimension::Country, "DE", people(2)),
        (Dimension::Country, "FR", Counts { people: 1, bots: 1 }),
        (Dimension::Region, "DE-BE", people(2)),
        (Dimension::City, "Berlin", people(2)),
        (Dimension::City, "Paris", Counts { people: 1, bots: 1 }),
        (Dimension::Referrer, "news.example", people(2)),
        (Dimension::Device, "mobile", people(2)),
        (Dimension::Device, "bot", bots(1)),
        (Dimension::Os, "iOS", people(2)),
        (Dimension::Browser, "Safari", people(2)),
        (Dimension::Browser, "Crawler", bots(1)),
        (Dimension::Language, "de", people(1)),
        (Dimension::UtmSource, "mail", people(1)),
        (Dimension::UtmMedium, "letter", people(1)),
        (Dimension::UtmCampaign, "spring", people(1)),
        (Dimension::Version, "1", Counts { people: 3, bots: 1 }),
        (Dimension::Version, "2", people(1)),
    ];
    for (dimension, text, counts) in expected {
        assert_eq!(told.value(dimension, text), counts, "{dimension:?} {text}");
    }
    let n_rows: usize = told.days.values().map(|day| day.rows.len()).sum();
    assert_eq!(n_rows, expected.len() + 1, "one version on the second day, and nothing else");
    assert_eq!(told.links, []);
}

pub(crate) async fn part_of_a_day_is_told_to_the_millisecond(stores: Stores) {
    flush(&stores, vec![visits().of(1, 0, 5)]).await.unwrap();
    let of = StatsOf::Link(LINK);
    let first = ask(&stores, of.clone(), at(MINUTE, 7), at(MINUTE + 1, 7)).await;
    assert_eq!(first.hours(), [(DAY, 0, people(1))]);
    assert_eq!(first.value(Dimension::Referrer, "news.example"), people(1));
    assert_eq!(first.value(Dimension::Version, "2"), people(0));
    let rest = ask(&stores, of.clone(), at(MINUTE + 1, 7), at(MINUTE + 1_440, 8)).await;
    assert_eq!(
        rest.hours(),
        [(DAY, 0, Counts { people: 1, bots: 1 }), (DAY, 23, people(1)), (DAY + 1, 0, people(1)),]
    );
    let nothing = ask(&stores, of.clone(), at(MINUTE, 8), at(MINUTE + 1, 7)).await;
    assert_eq!(nothing.days.len(), 0);
    let backwards = ask(&stores, of, at(MINUTE + 1, 7), at(MINUTE, 7)).await;
    assert_eq!(backwards.days.len(), 0);
}

pub(crate) async fn buckets_have_bounds_of_any_kind(stores: Stores) {
    flush(&stores, vec![visits().of(1, 0, 5)]).await.unwrap();
    // A day that begins at half past five, and one bucket that ends between two clicks.
    let bounds = [
        at(MINUTE, 0),
        at(MINUTE + 1, 7),
        at(MINUTE + 1, 8),
        at(MINUTE + 330, 0),
        at(MINUTE + 1_440 + 330, 0),
    ];
    let bucket = |people, bots, qr_scans, visitors, robots| BucketStats {
        counts: Counts { people, bots },
        qr_scans,
        visitors: Counts { people: visitors, bots: robots },
    };
    let expected = [
        bucket(1, 0, 0, 1, 0),
        bucket(1, 0, 1, 1, 0),
        bucket(0, 1, 0, 0, 1),
        // Two visitors on two days.
        bucket(2, 0, 0, 2, 0),
    ];
    let of = StatsOf::Link(LINK);
    assert_eq!(stores.stats.buckets(of.clone(), bounds.to_vec()).await.unwrap(), expected);
    let whole = stores.stats.buckets(of.clone(), vec![bounds[0], bounds[4]]).await.unwrap();
    // Who came on both days is two visitors: nobody can tell.
    assert_eq!(whole, [bucket(4, 1, 1, 3, 1)]);
    for too_few in [vec![], vec![bounds[0]]] {
        assert_eq!(stores.stats.buckets(of.clone(), too_few).await.unwrap(), []);
    }
}

pub(crate) async fn clicks_that_are_not_kept_one_by_one_are_in_every_sum(stores: Stores) {
    let mut more = Flush::default();
    let visited = visits().of(1, 0, 5);
    let mut own = Lexicon::default();
    let mut stats = DayStats::default();
    stats.add(&visited.clicks[..4], &mut Parts::new(&visited.words), &mut own);
    more.lexicon = own;
    more.surplus.push(Surplus { link: LINK, minute: MINUTE + 3, stats });
    flush(&stores, vec![visited, more.of(2, 0, 4)]).await.unwrap();
    let told = all_of(&stores, LINK).await;
    assert_eq!(told.people(), [(DAY, 6), (DAY + 1, 1)]);
    assert_eq!(told.value(Dimension::City, "Paris"), Counts { people: 2, bots: 2 });
    assert_eq!(told.value(Dimension::Version, "1"), Counts { people: 5, bots: 2 });
    assert_eq!(told.days[&DAY].hours[0].visitors, (1, 1), "they are the same visitors");
    let bounds = vec![at(MINUTE + 3, 0), at(MINUTE + 4, 0)];
    let buckets = stores.stats.buckets(StatsOf::Link(LINK), bounds).await.unwrap();
    assert_eq!((buckets[0].counts, buckets[0].qr_scans), (Counts { people: 3, bots: 1 }, 1));
    assert_eq!(stores.clicks.totals(&[LINK]).await.unwrap()[0].clicks, 7);
    let minute = ask(&stores, StatsOf::Link(LINK), at(MINUTE + 3, 0), at(MINUTE + 3, 1)).await;
    assert_eq!(minute.value(Dimension::Country, "DE"), people(2));
    let behind = ask(&stores, StatsOf::Link(LINK), at(MINUTE + 3, 1), at(MINUTE + 4, 0)).await;
    assert_eq!(behind.days.len(), 0, "a row counts where its minute begins");
}

pub(crate) async fn of_too_many_values_the_rest_is_one(stores: Stores) {
    let n_values = DIMENSION_VALUES_MAX as u64 + 200;
    let mut sent = 0;
    // Three rounds: values that are known already go on counting.
    for round in 0..3 {
        let mut more = Flush::default();
        for value in 0..n_values {
            let domain = format!("site-{value}.example");
            let referrer = more.word(&[&domain, "https://x.example"]);
            let minute = MINUTE + value as u32 % 1_440;
            let one = click(LINK, at(minute, 0), value as u32);
            more.clicks.push(CountedClick { referrer, ..one });
        }
        // One of them twice, so that it is not among the least.
        let last = *more.clicks.last().unwrap();
        more.clicks.push(last);
        flush(&stores, vec![more.of(1, sent, sent + n_values + 1)]).await.unwrap();
        sent += n_values + 1;
        let told = all_of(&stores, LINK).await;
        let rows = &told.days[&DAY].rows;
        let of_domains: Vec<_> =
            rows.iter().filter(|((dimension, _), _)| *dimension == Dimension::Referrer).collect();
        assert_eq!(of_domains.len(), DIMENSION_VALUES_MAX + 1);
        let sum: u64 = of_domains.iter().map(|(_, counts)| counts.people).sum();
        assert_eq!(sum, sent, "no click is lost");
        let other = told.value(Dimension::Referrer, "(other)");
        assert!((200 * (round + 1)..=201 * (round + 1)).contains(&other.people), "{other:?}");
    }
}

pub(crate) async fn texts_are_kept_as_they_are(stores: Stores) {
    let mut more = Flush::default();
    let long = "ü".repeat(1_000);
    let words = [
        more.word(&["", "", "only the third"]),
        more.word(&["a", "b", "c", "d", "e", "beyond"]),
        more.word(&["\u{0}", "\u{1e} \"'|,\n", "🦀"]),
        more.word(&[&long]),
    ];
    for (serial, utm) in (1..).zip(words) {
        let one = click(LINK, at(MINUTE, serial), serial as u32);
        more.clicks.push(CountedClick { utm, referrer: utm, ..one });
    }
    flush(&stores, vec![more.of(1, 0, 4)]).await.unwrap();
    let told = all_of(&stores, LINK).await;
    let expected = [
        (Dimension::UtmCampaign, "only the third"),
        (Dimension::UtmSource, "a"),
        (Dimension::UtmMedium, "b"),
        (Dimension::UtmSource, "\u{0}"),
        (Dimension::UtmMedium, "\u{1e} \"'|,\n"),
        (Dimension::UtmCampaign, "🦀"),
        (Dimension::UtmSource, long.as_str()),
        (Dimension::Referrer, long.as_str()),
    ];
    for (dimension, text) in expected {
        assert_eq!(told.value(dimension, text), people(1), "{dimension:?} {text}");
    }
    assert_eq!(told.value(Dimension::UtmSource, ""), people(0));
}
