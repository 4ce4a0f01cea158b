//! The lints, one file each.

use super::Lint;

macro_rules! lints {
    ($($name:ident)*) => {
        $(mod $name;)*

        /// All lints. Those that explain others come first.
        pub(super) const LINTS: &[&Lint] = &[$(&$name::LINT),*];
    };
}

lints! {
    client_above_forwarded
    match_above_forwarded
    claimed_header
    trusts_everyone
    auth_guards_one_path
    password_in_clear
    limit_below_auth
    figures_for_everyone
    http_beside_https
    hsts_never_sent
    headers_not_everywhere
    files_without_headers
    private_files_public
    sendfile_folder_public
    script_source_public
    code_public
    served_folder_inside
    redirect_loop
    health_behind_guard
    acme_behind_guard
    preflight_refused
    preflight_without_route
    forwarded_trusts_nobody
    user_above_auth
    header_removed_above
    outer_header_wins
    smaller_limit_above
    deadline_never_met
    wait_over_deadline
    fallback_hides_app
    rewrite_below_files
    at_repeats_mount
    path_repeats_mount
    streaming_below_buffer
    refusals_without_page
    twice
    log_misses
    refusals_without_id
    unpacked_files
    buffer_above_refusals
    per_worker_state
    python_twin
}
