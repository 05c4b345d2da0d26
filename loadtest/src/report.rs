//! `--report`: one page that needs nothing but itself.

use anyhow::{Context, Result};

use crate::summary::Summary;

/// The page of a run.
pub(crate) fn page(summary: &Summary) -> Result<String> {
    let json = serde_json::to_string(summary)?;
    let (before, after) = TEMPLATE
        .split_once(PLACE)
        .context("the page's template has no place for the run")?;
    Ok([before, &escape(&json), after].concat())
}

const TEMPLATE: &str = include_str!("report/page.html");

/// Stands in the template where the run's JSON goes.
const PLACE: &str = "{\"place\":\"run\"}";

/// Nothing in the JSON can end the script element that it stands in.
fn escape(json: &str) -> String {
    json.replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_carries_the_run_and_asks_for_nothing_else() {
        let mut summary = Summary::new("echo", "</script><script>alert(1)".to_owned());
        summary.add("p99", 0.25);
        let page = page(&summary).unwrap();
        assert!(page.contains("\"name\":\"p99\",\"value\":0.25"));
        assert!(!page.contains("</script><script>alert"));
        assert!(!page.contains(PLACE));
        for outside in ["http://", "https://", "src=", "href=", "@import", "url("] {
            let found = page.replace("http://www.w3.org/2000/svg", "");
            assert!(!found.contains(outside), "the page refers to {outside}");
        }
    }
}
