//! The lints, one file each.

mod acme_behind_guard;
mod assets_behind_token;
mod at_repeats_mount;
mod auth_guards_one_path;
mod buffer_above_refusals;
mod cache_above_auth;
mod cache_below_compress;
mod cache_keeps_moments;
mod cache_keeps_nonces;
mod claimed_header;
mod client_above_forwarded;
mod code_public;
mod csrf_refuses_cors;
mod deadline_never_met;
mod drain_under_deadline;
mod fallback_hides_app;
mod figures_for_everyone;
mod files_without_headers;
mod forwarded_trusts_nobody;
mod header_removed_above;
mod headers_not_everywhere;
mod health_behind_guard;
mod hints_above_auth;
mod hsts_never_sent;
mod http_beside_https;
mod limit_below_auth;
mod log_misses;
mod match_above_forwarded;
mod mirror_above_refusals;
mod never_asked;
mod outer_header_wins;
mod password_in_clear;
mod path_repeats_mount;
mod per_worker_state;
mod preflight_refused;
mod preflight_without_route;
mod private_files_public;
mod python_twin;
mod redirect_loop;
mod refusals_without_id;
mod refusals_without_page;
mod rewrite_below_files;
mod script_source_public;
mod sendfile_folder_public;
mod served_folder_inside;
mod slash_hides_index;
mod slash_loop;
mod smaller_limit_above;
mod streaming_below_buffer;
mod trusts_everyone;
mod twice;
mod underscored_header;
mod unpacked_files;
mod user_above_auth;
mod wait_over_deadline;

use super::Lint;

/// All lints. Those that explain others come first.
pub(super) const LINTS: &[&Lint] = &[
    &client_above_forwarded::LINT,
    &match_above_forwarded::LINT,
    &claimed_header::LINT,
    &trusts_everyone::LINT,
    &auth_guards_one_path::LINT,
    &password_in_clear::LINT,
    &cache_above_auth::LINT,
    &cache_keeps_nonces::LINT,
    &limit_below_auth::LINT,
    &figures_for_everyone::LINT,
    &http_beside_https::LINT,
    &hints_above_auth::LINT,
    &hsts_never_sent::LINT,
    &headers_not_everywhere::LINT,
    &files_without_headers::LINT,
    &private_files_public::LINT,
    &sendfile_folder_public::LINT,
    &script_source_public::LINT,
    &code_public::LINT,
    &served_folder_inside::LINT,
    &redirect_loop::LINT,
    &slash_loop::LINT,
    &slash_hides_index::LINT,
    &health_behind_guard::LINT,
    &acme_behind_guard::LINT,
    &preflight_refused::LINT,
    &preflight_without_route::LINT,
    &csrf_refuses_cors::LINT,
    &forwarded_trusts_nobody::LINT,
    &user_above_auth::LINT,
    &header_removed_above::LINT,
    &underscored_header::LINT,
    &cache_keeps_moments::LINT,
    &outer_header_wins::LINT,
    &smaller_limit_above::LINT,
    &deadline_never_met::LINT,
    &wait_over_deadline::LINT,
    &drain_under_deadline::LINT,
    &fallback_hides_app::LINT,
    &never_asked::LINT,
    &assets_behind_token::LINT,
    &rewrite_below_files::LINT,
    &at_repeats_mount::LINT,
    &path_repeats_mount::LINT,
    &streaming_below_buffer::LINT,
    &refusals_without_page::LINT,
    &twice::LINT,
    &log_misses::LINT,
    &refusals_without_id::LINT,
    &unpacked_files::LINT,
    &buffer_above_refusals::LINT,
    &cache_below_compress::LINT,
    &mirror_above_refusals::LINT,
    &per_worker_state::LINT,
    &python_twin::LINT,
];
