//! Clicks as records. Everything is folded before: see `settle`.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;

use super::send;
use crate::domain::counted::{CountedClick, Surplus};
use crate::domain::day::start_of;
use crate::domain::id::Id;
use crate::storage::chunk::clicks::decode;
use crate::storage::embedded::clicks::read_page;
use crate::storage::embedded::days::{self, DayPage, Place};
use crate::storage::embedded::fault::Outcome;
use crate::storage::embedded::pages::{PageKind, page_id};
use crate::storage::embedded::schema::CLICK_SHARDS;
use crate::storage::embedded::stats::{add_rest, each_hour};
use crate::storage::moving::Out;
use crate::storage::moving::records::{ClickDayRecord, ClickTotalRecord, ClicksRecord};

/// Days with counts of any kind. Hours are from before single clicks were kept.
fn all_days(conn: &Connection) -> Outcome<BTreeSet<u32>> {
    let mut all: BTreeSet<u32> = days::all(conn)?.into_iter().collect();
    for (kind, per_day) in [(PageKind::Day, 1), (PageKind::Hour, 24)] {
        let sql = "SELECT DISTINCT id & 4294967295 FROM click_pages WHERE id BETWEEN ?1 AND ?2";
        let range = (page_id(kind, 0, 0), page_id(kind, CLICK_SHARDS - 1, u32::MAX));
        let mut statement = conn.prepare(sql)?;
        for bucket in statement.query_map(range, |row| row.get::<_, u32>(0))? {
            all.insert(bucket? / per_day);
        }
    }
    Ok(all)
}

pub(super) fn scan_days(conn: &Connection, out: &mut Out) -> Outcome<()> {
    for day in all_days(conn)? {
        for shard in 0..CLICK_SHARDS {
            scan_day(conn, Place { day, shard }, out)?;
        }
    }
    Ok(())
}

/// What is told of a whole day: its sums, and what its counts tell beyond them.
fn scan_day(conn: &Connection, place: Place, out: &mut Out) -> Outcome<()> {
    let Place { day, shard } = place;
    let counted = read_page(conn, PageKind::Day, shard, day)?;
    let mut page = match days::page_body(conn, place)? {
        Some(body) => DayPage::decode(place, &body)?,
        None => DayPage::default(),
    };
    each_hour(conn, place, |hour, entry| {
        let stats = page.links.entry(Id(entry.link)).or_default();
        stats.add_plain(entry.clicks, start_of(day, hour));
    })?;
    let mut bare: BTreeMap<Id, u64> = BTreeMap::new();
    for entry in counted {
        match page.links.get_mut(&Id(entry.link)) {
            Some(stats) => add_rest(stats, day, entry.clicks),
            None => drop(bare.insert(Id(entry.link), entry.clicks)),
        }
    }
    for (link, stats) in &page.links {
        send(out, ClickDayRecord::with_sums((*link, day), stats, page.lexicon.words()))?;
    }
    for (link, people) in bare {
        send(out, ClickDayRecord::bare((link, day), people))?;
    }
    Ok(())
}

pub(super) fn scan_clicks(conn: &Connection, out: &mut Out) -> Outcome<()> {
    for day in days::all(conn)? {
        for place in days::places_with_something(conn, day)? {
            days::each_chunk(conn, place, 0, |id, _, body| {
                let chunk = decode(id, body)?;
                let (mut clicks, mut rows) = (&chunk.clicks[..], &chunk.surplus[..]);
                while let Some(link) = first_link(clicks.first(), rows.first()) {
                    let (own, rest) = clicks.split_at(clicks.partition_point(|c| c.link == link));
                    let (some, others) = rows.split_at(rows.partition_point(|r| r.link == link));
                    (clicks, rows) = (rest, others);
                    for record in ClicksRecord::of((link, day), &chunk.words, own, some) {
                        send(out, record)?;
                    }
                }
                Ok(true)
            })?;
        }
    }
    Ok(())
}

fn first_link(click: Option<&CountedClick>, row: Option<&Surplus>) -> Option<Id> {
    let (click, row) = (click.map(|click| click.link), row.map(|row| row.link));
    click.into_iter().chain(row).min()
}

pub(super) fn scan_totals(conn: &Connection, out: &mut Out) -> Outcome<()> {
    for shard in 0..CLICK_SHARDS {
        let brought = read_page(conn, PageKind::Brought, shard, 0)?;
        for total in read_page(conn, PageKind::Total, shard, 0)? {
            if total.clicks == 0 {
                continue;
            }
            let at = brought.binary_search_by_key(&total.link, |entry| entry.link);
            send(
                out,
                ClickTotalRecord {
                    link: total.link.cast_signed(),
                    clicks: total.clicks,
                    brought: at.map_or(0, |at| brought[at].clicks),
                    last_at: (total.last_at > 0).then_some(total.last_at.cast_signed()),
                },
            )?;
        }
    }
    Ok(())
}
