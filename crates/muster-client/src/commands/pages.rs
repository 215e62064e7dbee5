//! Lists that come in pages.

use clap::Args;
use tonic::{Response, Status};

use crate::error::Error;
use crate::screen::Screen;

/// Rows that are shown when nobody says how many.
const LIMIT_DEFAULT: u32 = 100;

/// Rows in one call.
const PAGE_ROWS: u32 = muster_domain::limits::PAGE_SIZE_MAX;

/// How much of a list is wanted.
#[derive(Debug, Clone, Args)]
pub(super) struct LimitArgs {
    /// Show at most so many rows [default: 100]
    #[arg(long, value_name = "ROWS")]
    limit: Option<u32>,

    /// Show all rows
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

/// One page of an answer: its rows, and where the next one begins.
pub(super) struct Page<T> {
    pub(super) rows: Vec<T>,
    pub(super) next_page_token: String,
}

impl LimitArgs {
    /// All rows.
    pub(super) fn everything() -> Self {
        LimitArgs { limit: None, all: true }
    }

    /// Asks for pages until there are enough rows. `ask` gets the size of the page and its token.
    pub(super) async fn collect<T, V: From<T>>(
        &self,
        screen: &Screen,
        mut ask: impl AsyncFnMut(i32, String) -> Result<Response<Page<T>>, Status>,
    ) -> Result<Vec<V>, Error> {
        let wanted = if self.all { usize::MAX } else { self.limit.unwrap_or(LIMIT_DEFAULT) as usize };
        let mut rows = Vec::new();
        let mut token = String::new();
        loop {
            let size = PAGE_ROWS.min(u32::try_from(wanted - rows.len()).unwrap_or(PAGE_ROWS));
            let page = ask(size as i32, token).await?.into_inner();
            rows.extend(page.rows.into_iter().map(V::from));
            rows.truncate(wanted);
            token = page.next_page_token;
            if token.is_empty() {
                return Ok(rows);
            }
            if rows.len() >= wanted {
                // Who named a number knows that there may be more.
                if self.limit.is_none() {
                    screen.say(&format!("only the first {wanted} rows; show more with --limit N or --all"));
                }
                return Ok(rows);
            }
        }
    }
}
