//! Which of two versions is the newer one, as an operator would read them.
//!
//! Versions need not be semantic, so this must make sense of anything: dotted numbers are compared as numbers, a part
//! after the first `-` comes before the release without it, a part after `+` decides last.

use std::cmp::Ordering;

/// Compares two versions. Only versions with the same text are equal.
#[must_use]
pub fn compare_versions(one: &str, other: &str) -> Ordering {
    let (a, b) = (Parts::split(one), Parts::split(other));
    dotted(a.release, b.release)
        .then_with(|| match (a.pre, b.pre) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(a), Some(b)) => dotted(a, b),
        })
        .then_with(|| dotted(a.build.unwrap_or(""), b.build.unwrap_or("")))
        .then_with(|| one.cmp(other))
}

struct Parts<'a> {
    release: &'a str,
    pre: Option<&'a str>,
    build: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn split(version: &'a str) -> Self {
        let (rest, build) = match version.split_once('+') {
            Some((rest, build)) => (rest, Some(build)),
            None => (version, None),
        };
        let (release, pre) = match rest.split_once('-') {
            Some((release, pre)) => (release, Some(pre)),
            None => (rest, None),
        };
        let numbered = release
            .strip_prefix(['v', 'V'])
            .filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        Self {
            release: numbered.unwrap_or(release),
            pre,
            build,
        }
    }
}

/// Segment by segment; a segment that is missing is older than one that is there, unless that is a zero.
fn dotted(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        let order = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (a, b) => natural(a.unwrap_or("0"), b.unwrap_or("0")),
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// Runs of digits as numbers of any length, everything else as text: `rc9` before `rc10`.
fn natural(mut a: &str, mut b: &str) -> Ordering {
    while !a.is_empty() && !b.is_empty() {
        let (run_a, rest_a) = run(a);
        let (run_b, rest_b) = run(b);
        let digits = |run: &str| run.starts_with(|c: char| c.is_ascii_digit());
        let order = if digits(run_a) && digits(run_b) {
            let (x, y) = (run_a.trim_start_matches('0'), run_b.trim_start_matches('0'));
            x.len().cmp(&y.len()).then_with(|| x.cmp(y))
        } else {
            run_a.cmp(run_b)
        };
        if order.is_ne() {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
    a.len().cmp(&b.len())
}

/// The longest start of `text` that is all digits, or all something else.
fn run(text: &str) -> (&str, &str) {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text
        .find(|c: char| c.is_ascii_digit() != digits)
        .unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use super::compare_versions;

    #[test]
    fn each_version_is_newer_than_the_ones_before_it() {
        for line in [
            "0.9 1.0.0-alpha 1.0.0-alpha.1 1.0.0-rc2 1.0.0-rc10 1.0.0 1.0.0+4 1.0.0+20 1.0.1 1.2 1.10 2.0.0-dev 2 10.0.0",
            "v1.9.0 v1.10.0 v2.0.0",
            "1.9.9 v1.10.0 2.0.0",
            "2024.02.9 2024.02.10 2024.10.1",
            "7 8 70 700",
            "a1 a2 a10 b1",
            "99999999999999999999999998 99999999999999999999999999 100000000000000000000000000",
        ] {
            let versions: Vec<_> = line.split(' ').collect();
            for (i, one) in versions.iter().enumerate() {
                for (j, other) in versions.iter().enumerate() {
                    assert_eq!(compare_versions(one, other), i.cmp(&j), "{one} {other}");
                }
            }
        }
    }

    #[test]
    fn versions_that_mean_the_same_are_still_told_apart() {
        assert_ne!(compare_versions("1.0", "1.0.0"), Ordering::Equal);
        assert_eq!(
            compare_versions("1.0", "1.0.0"),
            compare_versions("1.0.0", "1.0").reverse()
        );
        assert_eq!(compare_versions("1.0", "1.0"), Ordering::Equal);
    }
}
