//! All cases.

mod adoption;
mod after;
mod agents;
mod astray;
pub mod bad_input;
mod budgets;
mod commands;
pub mod config;
mod crd;
mod drain;
mod endpoints;
pub mod exec;
mod failing;
mod faults;
mod fidelity;
mod gates;
mod gitops;
mod group;
mod hooks;
pub mod job_probes;
mod killed;
mod metrics;
mod mistakes;
mod overlap;
mod parting;
mod plugin;
pub mod queries;
mod reads;
mod release;
mod roles;
mod services;
mod smoke;
mod superseding;
mod terminal;
pub mod through;
mod warm_up;
pub mod webhooks;
mod whole;

use std::sync::Arc;

use crate::runner::{Case, Place};

/// A case on the shared cluster.
macro_rules! shared {
    ($module:ident :: $name:ident, $limit:expr) => {
        Case { name: stringify!($name), place: Place::Shared, limit: $limit, run: Arc::new(|stage| Box::pin($module::$name(stage))) }
    };
}

/// A case on a cluster of its own.
macro_rules! own {
    ($module:ident :: $name:ident, $limit:expr, $values:expr) => {
        Case {
            name: stringify!($name),
            place: Place::Own { nodes: 2, values: $values },
            limit: $limit,
            run: Arc::new(|stage| Box::pin($module::$name(stage))),
        }
    };
}

/// Every case; the longest first, so that the end of a run is not one of them alone.
pub fn all() -> Vec<Case> {
    let mut cases = vec![
        shared!(adoption::adoption_interrupted, 600),
        shared!(gates::promoted_in_a_window, 330),
        shared!(release::upload_and_stream_survive, 180),
        shared!(drain::release_with_real_defaults, 150),
        shared!(after::bake_fails_and_returns, 180),
        shared!(after::bake_passes_and_keeps_warm, 180),
        shared!(after::restart_and_finish_the_drain, 180),
        shared!(after::promoted_after_a_while, 240),
        shared!(gates::local_policy_gap, 240),
        shared!(queries::queries_decide, 240),
        shared!(webhooks::webhooks_decide, 240),
        shared!(exec::commands_in_pods_decide, 240),
        shared!(job_probes::jobs_decide, 240),
        shared!(budgets::disruption_budget_follows, 240),
        shared!(through::probes_through_the_api_server, 300),
        shared!(group::group_switches_together, 300),
        shared!(exec::release_kept_told_by_a_signal, 300),
        shared!(config::config_comes_back_with_a_rollback, 400),
        shared!(config::secrets_are_kept_and_what_is_missing_is_told, 240),
        shared!(gitops::helm_waits, 300),
        shared!(gates::preview_replicas, 150),
        shared!(gates::grows_while_it_waits, 180),
        shared!(group::group_goes_back_together, 240),
        shared!(roles::pod_metadata_by_role, 200),
        shared!(whole::all_gates_at_once, 300),
        shared!(overlap::overlap_for_load_balancers, 300),
        shared!(hooks::hooks_in_order, 240),
        shared!(hooks::hook_fails, 240),
        shared!(hooks::hook_runs_out_of_time, 120),
        shared!(adoption::adopted_and_ejected, 300),
        shared!(adoption::adopted_leaves_one_by_one, 300),
        shared!(adoption::adoption_refused, 200),
        shared!(adoption::ejected_later, 200),
        shared!(adoption::deployment_made_again, 200),
        shared!(whole::abort_and_update, 200),
        shared!(whole::kubectl_waits, 240),
        shared!(whole::waiting_is_no_lack_of_progress, 150),
        shared!(whole::first_version_is_gated, 150),
        shared!(release::first_install, 90),
        shared!(release::release_new_connections, 120),
        shared!(release::release_kept_with_drain_begin, 120),
        shared!(release::release_kept_told_by_label, 300),
        shared!(release::channels_and_websockets_are_let_go, 200),
        shared!(release::release_kept_retiring_clients, 120),
        shared!(smoke::failed_smoke, 120),
        shared!(superseding::third_release_waits, 200),
        shared!(superseding::supersede_midway, 150),
        shared!(superseding::revert_to_running_set, 120),
        shared!(superseding::revert_after_switch, 150),
        shared!(smoke::probes_of_all_kinds, 120),
        shared!(smoke::probes_look_into_answers, 150),
        shared!(warm_up::warm_up_before_the_switch, 240),
        shared!(release::two_services, 120),
        shared!(release::work_grows_with_change, 120),
        shared!(release::scale_during_release, 120),
        shared!(release::scale_only, 120),
        shared!(failing::unready_before_switch, 150),
        shared!(failing::one_unready_after_switch, 120),
        shared!(failing::lost_all_ready, 120),
        shared!(commands::manual_promote, 150),
        shared!(commands::abort_before_and_retry, 150),
        shared!(commands::abort_after_switch, 150),
        shared!(commands::rollback_cold, 150),
        shared!(failing::paused, 150),
        shared!(failing::history_limit, 150),
        shared!(failing::progress_deadline, 120),
        shared!(drain::drain_sees_a_flood, 120),
        shared!(drain::drain_sees_a_direct_dialler, 120),
        shared!(drain::drain_waits_for_unsent_data, 120),
        shared!(drain::drain_waits_for_half_closed, 120),
        shared!(drain::drain_deadline, 120),
        shared!(drain::drain_is_quick, 180),
        shared!(drain::drain_ignores_peers, 120),
        shared!(drain::drain_names_holders, 120),
        shared!(drain::drain_counts_its_ports, 120),
        shared!(drain::drain_by_timer, 120),
        shared!(metrics::drain_by_metric, 240),
        shared!(metrics::workers_drain_by_metric, 180),
        shared!(parting::drain_one_by_one, 150),
        shared!(parting::one_by_one_after_the_bake, 200),
        shared!(agents::drain_unmeasurable, 150),
        shared!(agents::agent_reads_no_environment, 60),
        shared!(services::drift_is_repaired, 90),
        shared!(astray::selector_lost_in_bring_up, 150),
        shared!(astray::selector_lost_while_waiting, 150),
        shared!(astray::selector_lost_in_smoke, 150),
        shared!(astray::abort_to_unready_pods, 180),
        shared!(astray::abort_with_an_unready_pod, 150),
        shared!(astray::tested_again_after_a_failure, 180),
        shared!(faults::scale_down_refused, 180),
        shared!(services::selector_owned_by_an_applier, 120),
        shared!(services::selector_fought_over, 200),
        shared!(services::services_edited_later, 120),
        shared!(services::preview_follows, 150),
        shared!(services::delete_in_the_background, 120),
        shared!(services::orphaned_and_made_again, 150),
        shared!(plugin::plugin_restarts, 180),
        shared!(plugin::plugin_promotes, 200),
        shared!(plugin::plugin_goes_back, 250),
        shared!(plugin::plugin_changes_the_spec, 200),
        shared!(plugin::plugin_checks, 120),
        shared!(plugin::plugin_passes_on, 120),
        shared!(terminal::plugin_on_a_terminal, 120),
        shared!(crd::crd_is_generated_and_small, 60),
        shared!(crd::crd_refuses_typos, 60),
        shared!(crd::crd_explains, 60),
        shared!(crd::crd_rules, 60),
        shared!(crd::crd_merges_by_key, 60),
    ];
    cases.extend(bad_input::cases());
    cases.extend([
        own!(killed::killed_after_every_write, 900, &[]),
        own!(killed::killed_in_mid_bake, 300, &[]),
        own!(agents::agent_missing, 150, &["agent.enabled=false"]),
        own!(agents::agent_not_wanted, 180, &["agent.nodeSelector.drain=here"]),
        own!(agents::agent_silent, 180, &[]),
        own!(config::nothing_is_copied_without_leave, 120, &[]),
        own!(budgets::node_drained, 240, &["nodeSelector.kubernetes\\.io/hostname=e2e-node-drained-n1"]),
        // The controller stays where no node is lost.
        own!(faults::node_lost, 240, &["nodeSelector.kubernetes\\.io/hostname=e2e-node-lost-n1"]),
        own!(faults::leader_change, 180, &["replicas=2"]),
        own!(faults::api_server_away, 240, &[]),
        own!(faults::etcd_restarted, 240, &[]),
        own!(faults::kubelet_stopped, 240, &["nodeSelector.kubernetes\\.io/hostname=e2e-kubelet-stopped-n1"]),
        own!(faults::leader_cut_off, 300, &["replicas=2"]),
        own!(reads::reads_refused, 240, &[]),
        own!(endpoints::endpoints_late, 240, &[]),
        own!(fidelity::simulated_api_server, 120, &["replicas=0"]),
    ]);
    cases
}
