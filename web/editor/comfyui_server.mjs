// The pack's own routes on ComfyUI's server.
import { api } from "../../../scripts/api.js";

async function ask(path, asked) {
  const headers = { "Content-Type": "application/json" };
  const answer = await api.fetchApi(`/instance_composer/${path}`, {
    method: "POST",
    headers,
    body: JSON.stringify(asked),
  });
  return answer.ok ? answer.json() : null;
}

/**
 * Layouts of other programs as the server reads and writes them (hosts/comfyui/server/layouts.py); null without that
 * route.
 */
export const readLayout = (text, { format, order, canvas }) =>
  ask("layouts", { text, format, order, canvas });
export const writeLayout = (document, format) => ask("layouts", { document, format });

/** The report of this installation (hosts/comfyui/server/report.py): {text, faults}; null without that route. */
export const examine = (thorough) => ask("doctor", { thorough });

/**
 * Tokens of texts as ComfyUI's own tokenizer counts them (hosts/comfyui/server/token_count.py); null without that
 * route.
 */
export async function countTokens(texts) {
  return (await ask("tokens", { texts }))?.tokens ?? null;
}
