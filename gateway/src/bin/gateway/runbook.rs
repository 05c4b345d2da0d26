//! `gateway runbook`: what an alert means and what to do, wherever the program is. Alerts name this
//! command, since nobody knows under which address the documentation can be read.

/// The page that the alerts' sections stand in.
const OPERATIONS: &str = include_str!("../../../../docs/operations.md");

/// The section of one alert, or of all.
pub(crate) fn page(alert: Option<&str>) -> Option<&'static str> {
    let (_, alerts) = OPERATIONS.split_once("\n## Alerts\n")?;
    let alerts = alerts.split("\n## ").next().unwrap_or(alerts);
    let Some(wanted) = alert else {
        return Some(alerts.trim());
    };
    let mut sections = alerts.split("\n### ").skip(1);
    let named = |section: &&str| {
        let name = section.lines().next().unwrap_or_default();
        name.eq_ignore_ascii_case(wanted)
    };
    sections.find(named).map(str::trim)
}

/// The names of all alerts.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    let sections = page(None).unwrap_or_default().lines();
    sections.filter_map(|line| line.strip_prefix("### "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = include_str!("../../../../deploy/prometheus/alerts.rules.yml");

    #[test]
    fn every_alert_has_its_page_and_names_the_command() {
        let alerts: Vec<_> = RULES
            .lines()
            .filter_map(|line| line.trim().strip_prefix("- alert: "))
            .collect();
        assert!(alerts.len() > 20);
        assert_eq!(names().collect::<Vec<_>>(), alerts);
        for alert in alerts {
            let page = page(Some(&alert.to_lowercase())).unwrap();
            assert!(
                page.starts_with(alert) && page.lines().count() > 1,
                "{page}"
            );
            assert!(!page.contains("###"), "{page}");
            let command = format!("runbook: gateway runbook {alert}\n");
            assert!(RULES.contains(&command), "{command}");
        }
        assert_eq!(page(Some("Nothing")), None);
    }
}
