// The sheet that says what of this installation helps or hinders the pack.
import { html } from "./dom.mjs";

/** @param {any} editor whose host has `examine(thorough)`, a promise of {text, faults}, {refused} or null */
export function openInstallation(editor) {
  const { t, host, menus, exchange } = editor;
  const text = html("pre", { class: "ic-report", tabindex: 0, "aria-label": t("editor.installation") });
  const state = html("p", { role: "status" });
  const button = (label, onclick) =>
    html("button", { type: "button", class: "ic-button ic-outlined", onclick }, label);
  const copy = button(t("editor.copy_report"), () => exchange.toClipboard(text.textContent));
  const thorough = button(t("editor.try_models"), () => look(true));
  const look = async (asked) => {
    for (const one of [copy, thorough]) one.disabled = true;
    state.textContent = t(asked ? "editor.trying_models" : "editor.examining");
    const answer = await host.examine(asked).catch(() => null);
    const report = answer?.refused ? null : answer;
    thorough.disabled = false;
    copy.disabled = !report && !text.textContent;
    state.textContent = report
      ? t(report.faults ? "editor.faults_found" : "editor.no_faults", { count: report.faults })
      : (answer?.refused ?? t("editor.not_examined"));
    if (report) text.textContent = report.text;
  };
  menus.sheet(t("editor.installation"), state, text, html("div", { class: "ic-row" }, copy, thorough));
  return look(false);
}
