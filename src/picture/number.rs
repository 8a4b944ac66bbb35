//! Numbers for people.

/// Three significant digits: `0.0123`, `1.23`, `12,300`. What is no number is `–`.
#[must_use]
pub fn figure(number: f64) -> String {
    if !number.is_finite() {
        return "–".to_owned();
    }
    if number == 0.0 {
        return "0".to_owned();
    }
    // Rounded first: 999.9 has its digits where 1,000 has them.
    let digits = |of: f64| SIGNIFICANT - 1 - of.abs().log10().floor() as i32;
    let power = 10f64.powi(digits(number).clamp(-300, 300));
    let rounded = (number * power).round() / power;
    if !rounded.is_finite() || rounded.abs() >= 1e15 || rounded.abs() < 1e-4 {
        return format!("{number:.2e}");
    }
    let places = digits(rounded).max(0) as usize;
    let written = format!("{rounded:.places$}");
    match written.split_once('.') {
        Some((whole, part)) => {
            let part = part.trim_end_matches('0');
            if part.is_empty() {
                apart(whole)
            } else {
                format!("{}.{part}", apart(whole))
            }
        }
        None => apart(&written),
    }
}

/// Commas between the thousands of a whole number.
#[must_use]
pub fn apart(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |rest| ("−", rest));
    let mut out = String::from(sign);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Digits that mean something to a reader.
const SIGNIFICANT: i32 = 3;

#[cfg(test)]
mod tests {
    use super::figure;

    #[test]
    fn a_figure_has_three_significant_digits_and_its_thousands_apart() {
        let rows: [(f64, &str); 16] = [
            (0.0, "0"),
            (0.012_345, "0.0123"),
            (1.0, "1"),
            (1.5, "1.5"),
            (1.234, "1.23"),
            (12.34, "12.3"),
            (99.96, "100"),
            (123.4, "123"),
            (999.9, "1,000"),
            (1_234.0, "1,230"),
            (1_234_567.0, "1,230,000"),
            (-1_234.0, "−1,230"),
            (1.5e18, "1.50e18"),
            (1e-9, "1.00e-9"),
            (f64::NAN, "–"),
            (f64::INFINITY, "–"),
        ];
        for (number, words) in rows {
            assert_eq!(figure(number), words, "{number}");
        }
        assert_eq!(figure(f64::MAX), "1.80e308");
        assert_eq!(figure(f64::MIN_POSITIVE), "2.23e-308");
    }
}
