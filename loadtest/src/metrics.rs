//! Reading the text of `/metrics`.

/// One scrape: samples as they stand in the text.
#[derive(Clone, Debug, Default)]
pub struct Scrape {
    samples: Vec<Sample>,
}

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    /// The text between the braces.
    labels: String,
    value: f64,
}

impl Scrape {
    pub fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(sample);
        Self { samples: samples.collect() }
    }

    /// The sum of all samples of this name whose labels contain every one of `labels`, each
    /// written as `key="value"`. Zero when there is none.
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let matches = |sample: &&Sample| {
            sample.name == name && labels.iter().all(|label| sample.labels.contains(label))
        };
        // An empty sum of floats is -0.
        self.samples.iter().filter(matches).map(|sample| sample.value).sum::<f64>() + 0.0
    }

    pub fn total(&self, name: &str) -> f64 {
        self.sum(name, &[])
    }

    pub fn has(&self, name: &str) -> bool {
        self.samples.iter().any(|sample| sample.name == name)
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = match line.split_once('}') {
        Some((series, value)) => (series, value),
        None => line.split_once(' ')?,
    };
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    Some(Sample {
        name: name.to_owned(),
        labels: labels.to_owned(),
        value: value.split_whitespace().next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_added_up_by_name_and_label() {
        let scrape = Scrape::parse(
            "# HELP x_total Things\nx_total{a=\"1\",b=\"2\"} 3\nx_total{a=\"2\"} 4\n\
             x 5 1700000000\n",
        );
        assert_eq!(scrape.total("x_total"), 7.0);
        assert_eq!(scrape.sum("x_total", &["a=\"1\""]), 3.0);
        assert_eq!(scrape.total("x"), 5.0);
        assert_eq!(scrape.total("y"), 0.0);
        assert!(scrape.has("x") && !scrape.has("y"));
    }
}
