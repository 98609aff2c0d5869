// Prompt and negative of the whole picture, at the foot of the list: they lie behind everything.
import { html } from "./dom.mjs";

export class WholePicture {
  constructor(editor) {
    this.editor = editor;
    const { t } = editor;
    const field = (name, label, placeholder) => {
      const area = html("textarea", {
        class: "ic-field",
        rows: 1,
        "aria-label": label,
        placeholder,
        spellcheck: "true",
      });
      area.addEventListener("input", () =>
        editor.apply(editor.commands.setPrompt(editor.state, { [name]: area.value }), { key: name }),
      );
      area.addEventListener("change", () => editor.settle());
      return area;
    };
    this.prompt = field("prompt", t("editor.prompt"), t("editor.prompt_placeholder"));
    this.negative = field("negative", t("editor.prompt_negative"), t("editor.prompt_negative_placeholder"));
    this.joined = html("div", { class: "ic-joined", hidden: true, tabindex: -1 }); // the keys stay in the editor
    this.element = html("div", { class: "ic-whole" }, this.prompt, this.joined, this.negative);
  }

  render() {
    const { prompt, negative } = this.editor.layout;
    if (this.prompt.value !== prompt) this.prompt.value = prompt;
    if (this.negative.value !== negative) this.negative.value = negative;
    this.renderJoined();
  }

  /** The prompt as the run reads it, where captions join it. */
  renderJoined() {
    const { host, layout, naming, t } = this.editor;
    const reading = host.joins ? naming.of(layout) : null;
    const shown = reading !== null && reading.unnamed.length > 0;
    this.joined.hidden = !shown;
    if (!shown) return;
    this.joined.textContent = t("editor.prompt_joined", { prompt: reading.prompt });
    this.joined.title = t("editor.prompt_joined_why");
  }
}
