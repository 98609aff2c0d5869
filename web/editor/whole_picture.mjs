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
    this.element = html("div", { class: "ic-whole" }, this.prompt, this.negative);
  }

  render() {
    const { prompt, negative } = this.editor.layout;
    if (this.prompt.value !== prompt) this.prompt.value = prompt;
    if (this.negative.value !== negative) this.negative.value = negative;
  }
}
