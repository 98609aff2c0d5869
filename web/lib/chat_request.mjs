// What to ask a chat model for, so that its answer can be pasted as it is.
import { MOST_TRAINED_INSTANCES } from "./problems.mjs";
import { EXAMPLE } from "./templates.mjs";
import { parse } from "./document.mjs";

/**
 * The request for a layout of this size, with the prompt as its subject.
 * @param {import("./document.mjs").Layout} layout
 * @param {(code: string, params?: object) => string} t
 */
export function chatRequest({ canvas, prompt }, t) {
  const { width, height } = canvas;
  return t("editor.chat_request", {
    subject: prompt.trim() || t("editor.chat_subject"),
    width: String(width),
    height: String(height),
    most: MOST_TRAINED_INSTANCES,
    example: answerLike(width, height),
  });
}

/** An answer as it should look: our own document, without what an answer need not say. */
export function answerLike(width, height) {
  const { prompt, instances } = parse(EXAMPLE);
  const shown = instances.map(({ id, box, caption }) => ({ id, box, caption }));
  return JSON.stringify({ version: 1, canvas: { width, height }, prompt, instances: shown });
}
