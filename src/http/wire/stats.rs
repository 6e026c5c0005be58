//! Statistics and single clicks on the wire.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Site, time_text};
use crate::domain::click::ClickFlags;
use crate::domain::event::ClickEvent;
use crate::service::stats::calendar::Period;
use crate::service::stats::{LinkCensus, Report, Summary, Top, TopLink, WorkspaceReport};

/// Statistics of a link.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Stats)]
pub(crate) struct StatsView {
    pub(crate) summary: SummaryView,
    /// Without gaps: buckets without clicks have 0.
    pub(crate) timeseries: Vec<PointView>,
    /// ISO 3166-1.
    #[schema(example = json!([{"value": "US", "clicks": 7821, "share": 0.507}]))]
    pub(crate) countries: Vec<TopView>,
    pub(crate) regions: Vec<TopView>,
    pub(crate) cities: Vec<TopView>,
    #[schema(example = json!([{"value": "EU", "clicks": 5120, "share": 0.332}]))]
    pub(crate) continents: Vec<TopView>,
    /// Domains of the pages that visitors came from.
    #[schema(example = json!([{"value": "news.example", "clicks": 912, "share": 0.059}]))]
    pub(crate) referrers: Vec<TopView>,
    #[schema(example = json!([{"value": "mobile", "clicks": 9010, "share": 0.584}]))]
    pub(crate) devices: Vec<TopView>,
    pub(crate) browsers: Vec<TopView>,
    pub(crate) os: Vec<TopView>,
    /// The language that the visitor likes best, BCP 47.
    pub(crate) languages: Vec<TopView>,
    pub(crate) utm_sources: Vec<TopView>,
    pub(crate) utm_mediums: Vec<TopView>,
    pub(crate) utm_campaigns: Vec<TopView>,
    /// Where the clicks were led.
    pub(crate) destinations: Vec<TopView>,
}

/// Statistics of the links of a workspace.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = WorkspaceStats)]
pub(crate) struct WorkspaceStatsView {
    #[serde(flatten)]
    pub(crate) stats: StatsView,
    pub(crate) links: LinkCensusView,
    /// Deleted links are left out; their clicks are counted.
    pub(crate) top_links: Vec<TopLinkView>,
}

/// All clicks of the period.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = StatsSummary)]
pub(crate) struct SummaryView {
    #[schema(examples(15_420))]
    pub(crate) clicks: u64,
    /// An estimate within 2 %; a visitor counts once per UTC day.
    #[schema(examples(8_932))]
    pub(crate) unique_visitors: u64,
    /// Clicks of bots, whether or not they are in `clicks`.
    #[schema(examples(311))]
    pub(crate) bots: u64,
    /// Scans of QR codes by people.
    #[schema(examples(40))]
    pub(crate) qr_scans: u64,
    #[schema(examples(497.4))]
    pub(crate) avg_clicks_per_day: f64,
    #[schema(format = DateTime)]
    pub(crate) first_click_at: Option<String>,
    #[schema(format = DateTime)]
    pub(crate) last_click_at: Option<String>,
}

/// One bucket of time.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = StatsBucket)]
pub(crate) struct PointView {
    /// With the offset of the asked zone.
    #[schema(format = DateTime, examples("2026-01-01T00:00:00-05:00"))]
    pub(crate) start: String,
    pub(crate) clicks: u64,
    /// An estimate; a visitor counts once per UTC day.
    pub(crate) unique_visitors: u64,
}

/// One value and its clicks.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = StatsTop)]
pub(crate) struct TopView {
    /// `other` stands for all beyond the values that are kept.
    pub(crate) value: String,
    pub(crate) clicks: u64,
    /// Of all clicks of the period.
    #[schema(minimum = 0, maximum = 1)]
    pub(crate) share: f64,
}

/// How many links there are.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = LinkCensus)]
pub(crate) struct LinkCensusView {
    pub(crate) total: u64,
    pub(crate) active: u64,
    /// Since the month began in the asked zone.
    pub(crate) created_this_month: u64,
}

/// A link and its clicks in the period.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = TopLink)]
pub(crate) struct TopLinkView {
    #[schema(pattern = "^[0-9]{1,20}$")]
    pub(crate) id: String,
    pub(crate) code: String,
    pub(crate) domain: String,
    pub(crate) short_url: String,
    pub(crate) title: String,
    pub(crate) destination: String,
    pub(crate) clicks: u64,
    #[schema(minimum = 0, maximum = 1)]
    pub(crate) share: f64,
}

/// A single click. What is not known is null.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Click)]
pub(crate) struct ClickView {
    #[schema(pattern = "^[0-9]{1,20}$")]
    pub(crate) id: String,
    #[schema(format = DateTime)]
    pub(crate) at: String,
    /// ISO 3166-1.
    pub(crate) country: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) city: Option<String>,
    pub(crate) continent: Option<String>,
    pub(crate) device: Option<String>,
    pub(crate) os: Option<String>,
    pub(crate) browser: Option<String>,
    /// As it was sent.
    pub(crate) referrer: Option<String>,
    pub(crate) referrer_domain: Option<String>,
    pub(crate) utm: Option<UtmView>,
    pub(crate) language: Option<String>,
    /// Where the click was led, also when the link leads elsewhere by now.
    pub(crate) destination: String,
    /// Null in this version.
    #[schema(value_type = Option<String>)]
    pub(crate) rule: Option<()>,
    pub(crate) bot: bool,
    /// The scan of a QR code.
    pub(crate) qr: bool,
    /// A browser asked for it before anybody clicked.
    pub(crate) prefetch: bool,
    /// The same for all clicks of a visitor on one UTC day, and for no other day.
    #[schema(pattern = "^[0-9a-f]{16}$")]
    pub(crate) visitor: Option<String>,
}

/// Campaign parameters of the visitor's query.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Utm)]
pub(crate) struct UtmView {
    pub(crate) source: Option<String>,
    pub(crate) medium: Option<String>,
    pub(crate) campaign: Option<String>,
    pub(crate) term: Option<String>,
    pub(crate) content: Option<String>,
}

impl StatsView {
    pub(crate) fn new(report: Report, period: &Period) -> Self {
        let Report { summary, series, tops, destinations } = report;
        let [countries, regions, cities, continents, referrers, devices, rest @ ..] =
            tops.map(tops_of);
        let [browsers, os, languages, utm_sources, utm_mediums, utm_campaigns] = rest;
        let point = |point: &crate::service::stats::Point| PointView {
            start: period.format_start(point.start),
            clicks: point.clicks,
            unique_visitors: point.unique_visitors,
        };
        Self {
            summary: summary.into(),
            timeseries: series.iter().map(point).collect(),
            countries,
            regions,
            cities,
            continents,
            referrers,
            devices,
            browsers,
            os,
            languages,
            utm_sources,
            utm_mediums,
            utm_campaigns,
            destinations: tops_of(destinations),
        }
    }
}

impl WorkspaceStatsView {
    pub(crate) fn new(all: WorkspaceReport, period: &Period, site: &Site) -> Self {
        let WorkspaceReport { report, links, top_links } = all;
        let LinkCensus { total, active, created_this_month } = links;
        Self {
            stats: StatsView::new(report, period),
            links: LinkCensusView { total, active, created_this_month },
            top_links: top_links.iter().map(|top| TopLinkView::new(top, site)).collect(),
        }
    }
}

impl From<Summary> for SummaryView {
    fn from(summary: Summary) -> Self {
        Self {
            clicks: summary.clicks,
            unique_visitors: summary.unique_visitors,
            bots: summary.bots,
            qr_scans: summary.qr_scans,
            avg_clicks_per_day: summary.clicks_per_day,
            first_click_at: summary.first_at.map(time_text),
            last_click_at: summary.last_at.map(time_text),
        }
    }
}

impl TopLinkView {
    fn new(TopLink { link, clicks, share }: &TopLink, site: &Site) -> Self {
        Self {
            id: link.id.to_string(),
            code: link.code.to_string(),
            domain: site.domain.clone(),
            short_url: format!("{}/{}", site.public_url, link.code),
            title: link.title.clone(),
            destination: link.destination.to_string(),
            clicks: *clicks,
            share: *share,
        }
    }
}

impl ClickView {
    /// `destination` is where the version of the link led that answered.
    pub(crate) fn new(event: ClickEvent, destination: &str) -> Self {
        let [source, medium, campaign, term, content] = event.utm;
        let utm = UtmView { source, medium, campaign, term, content };
        Self {
            id: event.id.to_string(),
            at: time_text(event.at),
            country: event.country,
            region: event.region,
            city: event.city,
            continent: event.continent,
            device: event.device,
            os: event.os,
            browser: event.browser,
            referrer: event.referrer,
            referrer_domain: event.referrer_domain,
            utm: (!utm.is_empty()).then_some(utm),
            language: event.language,
            destination: destination.to_owned(),
            rule: None,
            bot: event.flags.has(ClickFlags::BOT),
            qr: event.flags.has(ClickFlags::QR),
            prefetch: event.flags.has(ClickFlags::PREFETCH),
            visitor: event.visitor.map(|visitor| format!("{visitor:016x}")),
        }
    }
}

impl UtmView {
    fn is_empty(&self) -> bool {
        let Self { source, medium, campaign, term, content } = self;
        [source, medium, campaign, term, content].into_iter().all(Option::is_none)
    }
}

fn tops_of(tops: Vec<Top>) -> Vec<TopView> {
    let view = |Top { value, clicks, share }| TopView { value, clicks, share };
    tops.into_iter().map(view).collect()
}
