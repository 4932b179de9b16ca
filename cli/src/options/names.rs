//! Suggests the known name that is nearest to an unknown one.

/// A hint for an unknown name.
pub(super) fn did_you_mean<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    // Below this, the nearest name has nothing in common with the given one.
    const NEAR: f64 = 0.75;
    let nearest = known
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(nearness, _)| *nearness > NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((_, known)) => format!("did you mean {known}?"),
        None => "see redis-consumer-group run --help for all options".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_proposed_and_nothing_far_fetched() {
        let known = ["consumers", "redis-addr", "report-every"];
        assert_eq!(did_you_mean("consumer", known.into_iter()), "did you mean consumers?");
        assert_eq!(did_you_mean("redis_addr", known.into_iter()), "did you mean redis-addr?");
        assert!(did_you_mean("xyz", known.into_iter()).starts_with("see "));
    }
}
