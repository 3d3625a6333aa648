// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Command monitoring prints the Grafana dashboard of config/monitoring.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

const manual = "https://github.com/lapse-dev/lapse/blob/main/docs/operations.md#metrics"

func main() {
	built, err := lapse().Build()
	if err == nil {
		out := json.NewEncoder(os.Stdout)
		out.SetEscapeHTML(false)
		out.SetIndent("", "  ")
		err = out.Encode(built)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// lapse has what is wrong now on top, then access, then asking, then the operator.
func lapse() *dashboard.DashboardBuilder {
	d := dashboard.NewDashboardBuilder("Lapse").Uid("lapse").Tags([]string{"lapse", "rbac"}).
		Description("How well access is asked for, granted and ended. Who holds what is told by kubectl lapse get.").
		Timezone("browser").Time("now-24h", "now").Refresh("1m").Readonly().Tooltip(dashboard.DashboardCursorSyncCrosshair).
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Label("Prometheus").Type("prometheus")).
		Link(dashboard.NewDashboardLinkBuilder("What each metric means").Type(dashboard.DashboardLinkTypeLink).Url(manual).TargetBlank(true))
	for _, panels := range [][]cog.Builder[dashboard.Panel]{now(), access(), asking(), operator()} {
		for _, p := range panels {
			d = d.WithPanel(p)
		}
	}
	return d
}

// now is a row of numbers, red where somebody has to act.
func now() []cog.Builder[dashboard.Panel] {
	return []cog.Builder[dashboard.Panel]{
		number("Active grants", "Managed RoleBindings.", "max(lapse_bindings)", nil),
		number("Overdue", "Access that is held past its end; -1: it cannot be told.", "max(lapse_bindings_overdue)", wrongUnless(0)),
		number("Admission", "1 while the admission policies are in force. Otherwise nothing is granted.", "min(lapse_admission_enforced)", wrongUnless(1)),
		number("Leaders", "0: nothing is granted, and access goes on ending.",
			`sum(leader_election_master_status{name="lapse.lapse.dev"})`, wrongUnless(1)),
		number("Policies not ready", "They allow nothing.", "max(lapse_policies_not_ready)", wrongUnless(0)),
		number("Pinned", "RoleBindings that finalizers keep.", "max(lapse_bindings_pinned)", wrongUnless(0)),
	}
}

func access() []cog.Builder[dashboard.Panel] {
	return []cog.Builder[dashboard.Panel]{
		lines("Grants", "Held, and held too long.", "short",
			query("max(lapse_bindings)", "active"),
			query("max(lapse_bindings_overdue)", "overdue"),
			query("max(lapse_bindings_pinned)", "pinned")),
		lines("Lateness of ends", "From the deadline of a grant to its end, of those in the last hour. A standby takes over after 2 s.", "s",
			query(quantile(0.5, "lapse_revocation_lateness_seconds"), "half of them"),
			query(quantile(0.99, "lapse_revocation_lateness_seconds"), "99 of 100")),
	}
}

func asking() []cog.Builder[dashboard.Panel] {
	return []cog.Builder[dashboard.Panel]{
		lines("Time to approval", "From asking to the last approval that was needed, of requests that were granted in the last hour.", "s",
			query(quantile(0.5, "lapse_approval_wait_seconds"), "half of them"),
			query(quantile(0.9, "lapse_approval_wait_seconds"), "9 of 10")),
		bars("Requests", "By what became of them.",
			query(outcomes("Granted|Expired|Returned|Revoked|PendingApproval|Scheduled"), "{{reason}}")),
		bars("Refusals by reason", "What policies do not allow, and what came too late.",
			query(outcomes("Denied|NoMatchingPolicy|ApprovalTimedOut|AdmissionGap|PolicyWithdrawn|RoleChanged|Tampered"), "{{reason}}")),
		bars("Waiting for an admin", "What the operator cannot bind.",
			query(outcomes("BindForbidden|BindFailed|BindingConflict|ClockSkew|AdmissionNotEnforced|RoleNotFound|RoleEmpty|ConditionsTooCostly"), "{{reason}}")),
	}
}

func operator() []cog.Builder[dashboard.Panel] {
	return []cog.Builder[dashboard.Panel]{
		lines("Records behind", "Requests of which a sink has yet to take a record.", "short",
			query("max by (sink) (lapse_records_behind)", "{{sink}}")),
		bars("Records", "Told, tried in vain, missed and withheld.",
			query("sum by (sink) (increase(lapse_records_total[$__rate_interval]))", "told to {{sink}}"),
			query("sum by (sink) (increase(lapse_records_failed_total[$__rate_interval]))", "failed at {{sink}}"),
			query("sum by (sink) (increase(lapse_records_dropped_total[$__rate_interval]))", "missed by {{sink}}"),
			query("sum by (sink) (increase(lapse_records_withheld_total[$__rate_interval]))", "withheld from {{sink}}")),
		lines("Messages behind", "Requests of which a receiver may have yet to be told something.", "short",
			query("max by (receiver) (lapse_messages_behind)", "{{receiver}}")),
		bars("Messages", "Taken, tried in vain, missed and cut; and files of receivers that were bad.",
			query("sum by (receiver) (increase(lapse_messages_total[$__rate_interval]))", "taken by {{receiver}}"),
			query("sum by (receiver) (increase(lapse_messages_failed_total[$__rate_interval]))", "failed at {{receiver}}"),
			query("sum by (receiver) (increase(lapse_messages_dropped_total[$__rate_interval]))", "missed by {{receiver}}"),
			query("sum by (receiver) (increase(lapse_messages_withheld_total[$__rate_interval]))", "cut for {{receiver}}"),
			query("max(lapse_messages_file_bad)", "the file is wrong")),
		lines("Admission", "1 while a replica knows that the admission policies are in force.", "short",
			query("lapse_admission_enforced", "{{pod}}")),
		lines("Clock", "How far the clock of a replica is ahead of the API server's. From 30 s on nothing is granted.", "s",
			query("lapse_clock_skew_seconds", "{{pod}}")),
		bars("Errors", "Attempts that failed; each is made again.",
			query(`sum by (controller) (increase(controller_runtime_reconcile_errors_total{`+job+`}[$__rate_interval]))`, "{{controller}}")),
		lines("Memory", "Go collects garbage harder from its limit on; above it the kernel ends the process.", "bytes",
			query(`process_resident_memory_bytes{`+job+`}`, "{{pod}}"),
			query(`min(go_gc_gomemlimit_bytes{`+job+`})`, "GOMEMLIMIT")),
	}
}

// job tells the operator from others that use the same libraries.
const job = `job="lapse-manager-metrics"`

// quantile is of the last hour: there may be a handful of them in a day, which nobody would see
// in a shorter time.
func quantile(q float64, histogram string) string {
	return fmt.Sprintf("histogram_quantile(%v, sum by (le) (rate(%s_bucket[1h])))", q, histogram)
}

func outcomes(reasons string) string {
	return `sum by (reason) (increase(lapse_request_outcomes_total{reason=~"` + reasons + `"}[$__rate_interval]))`
}

var source = common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr("${datasource}")}

func query(expr, legend string) *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().Expr(expr).LegendFormat(legend).Datasource(source)
}

// wrongUnless are colours for a number of which one value is well.
func wrongUnless(well float64) *dashboard.ThresholdsConfigBuilder {
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps([]dashboard.Threshold{
		{Color: "red"}, {Value: &well, Color: "green"}, {Value: cog.ToPtr(well + 1), Color: "red"},
	})
}

func number(title, about, expr string, colours *dashboard.ThresholdsConfigBuilder) cog.Builder[dashboard.Panel] {
	p := stat.NewPanelBuilder().Title(title).Description(about).Datasource(source).Height(4).Span(4).
		WithTarget(query(expr, "").RefId("A").Instant()).GraphMode(common.BigValueGraphModeNone).
		ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})).Orientation(common.VizOrientationAuto)
	if colours == nil {
		colours = dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps([]dashboard.Threshold{{Color: "blue"}})
	}
	return p.Thresholds(colours)
}

func lines(title, about, unit string, queries ...*prometheus.DataqueryBuilder) *timeseries.PanelBuilder {
	p := timeseries.NewPanelBuilder().Title(title).Description(about).Datasource(source).Height(8).Span(12).Unit(unit).AxisSoftMin(0).
		FillOpacity(10).ShowPoints(common.VisibilityModeAuto).
		Legend(common.NewVizLegendOptionsBuilder().ShowLegend(true).
			DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom)).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending))
	if unit == "s" {
		p = p.Decimals(1)
	}
	for i, q := range queries {
		p = p.WithTarget(q.RefId(string(rune('A' + i))))
	}
	return p
}

func bars(title, about string, queries ...*prometheus.DataqueryBuilder) *timeseries.PanelBuilder {
	return lines(title, about, "short", queries...).DrawStyle(common.GraphDrawStyleBars).FillOpacity(80).
		Stacking(common.NewStackingConfigBuilder().Mode(common.StackingModeNormal))
}
