/** Every problem has a way out that works; the editor's own findings are quiet. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { createState } from "../../web/lib/commands.mjs";
import { createInstance, createLayout, parse } from "../../web/lib/document.mjs";
import { fix, FIX_LABELS } from "../../web/lib/fixes.mjs";
import { editorProblems, estimateTokens, findProblems, looseWords } from "../../web/lib/problems.mjs";
import { area } from "../../web/lib/geometry.mjs";
import { maskBounds } from "../../web/lib/mask.mjs";
import { EXAMPLE } from "../../web/lib/templates.mjs";
import { cases, countedMask } from "./support.mjs";

const layoutOf = (prompt, ...captions) =>
  createLayout(1024, 1024, {
    prompt,
    instances: captions.map((caption, index) =>
      createInstance(String(index + 1), [0.1 * index, 0.1, 0.1 * index + 0.3, 0.6], { caption }),
    ),
  });
const documents = cases()
  .filter((entry) => entry.document)
  .map((entry) => [entry.name, parse(entry.document)]);
const codes = (problems, { code, instance }) =>
  problems.filter((one) => one.code === code && one.instance === instance).length;

const JOINED = { prompt: "on grey, a red fox", unnamed: ["1"] };

test("a caption that the prompt does not name is told of where the run does not join it", () => {
  const layout = layoutOf("on grey", "a red fox", "a blue owl");
  const found = (options) => editorProblems(layout, options).filter(({ code }) => code === "problem.unnamed");
  assert.deepEqual(found(), []);
  assert.deepEqual(found({ joined: { prompt: "on grey", unnamed: [] } }), []);
  const [problem, ...others] = found({ joined: JOINED });
  assert.deepEqual(others, []);
  assert.equal(problem.params.captions, '"a red fox"');
  const { state } = fix(createState(layout), problem);
  assert.equal(state.layout.prompt, JOINED.prompt);
  assert.deepEqual(state.layout.instances, layout.instances);
});

test("one click takes every problem away, or the caret to where it is written away", () => {
  const used = new Set();
  for (const [name, layout] of documents) {
    for (const problem of editorProblems(layout)) {
      assert.ok(Object.hasOwn(FIX_LABELS, problem.fix), `${name}: ${problem.code}`);
      used.add(problem.fix);
      const { state, focus } = fix(createState(layout), problem);
      if (problem.fix === "write_prompt") {
        assert.deepEqual(focus, { id: null, field: "prompt" }, name);
        continue;
      }
      if (problem.fix === "write_caption" || problem.fix === "add_instance") {
        assert.ok(focus && state.selection.includes(focus.id), name);
        continue;
      }
      const before = codes(editorProblems(layout), problem);
      assert.ok(
        codes(editorProblems(state.layout), problem) < before,
        `${name}: ${problem.code} by ${problem.fix}`,
      );
    }
  }
  const many = layoutOf("a red fox and a blue owl", "a red fox");
  for (const problem of editorProblems(many)) used.add(problem.fix);
  for (const problem of [...hidden(), ...narrow()]) used.add(problem.fix);
  for (const problem of editorProblems(many, { joined: JOINED })) used.add(problem.fix);
  assert.deepEqual([...used].sort(), Object.keys(FIX_LABELS).sort());
});

test("fixing everything ends in a layout without errors", () => {
  for (const [name, layout] of documents) {
    let state = createState(layout);
    for (let step = 0; step < 40; step += 1) {
      const problem = findProblems(state.layout).find(({ severity }) => severity === "error");
      if (!problem) break;
      state = fix(state, problem).state;
    }
    assert.deepEqual(
      findProblems(state.layout).filter(({ severity }) => severity === "error"),
      [],
      name,
    );
  }
});

test("a shape that is too small becomes larger itself", () => {
  const polygon = [
    [0.1, 0.1],
    [0.15, 0.1],
    [0.15, 0.15],
  ];
  const item = createInstance("1", [0.1, 0.1, 0.15, 0.15], { caption: "a", mask: { polygon } });
  const layout = createLayout(1024, 1024, { instances: [item] });
  const [problem] = findProblems(layout).filter(({ code }) => code === "problem.box_small");
  const [larger] = fix(createState(layout), problem).state.layout.instances;
  assert.deepEqual(maskBounds(larger.mask), larger.box);
  assert.ok(area(larger.box) >= 0.01);
});

function hidden() {
  const layout = createLayout(64, 64, {
    instances: [
      createInstance("1", [0.2, 0.2, 0.5, 0.5], { caption: "a" }),
      createInstance("2", [0.1, 0.1, 0.9, 0.9], { caption: "b" }),
    ],
  });
  return editorProblems(layout).filter(({ code }) => code === "problem.hidden");
}

test("an instance behind another one is told, one in front is not", () => {
  assert.deepEqual(
    hidden().map(({ instance, params }) => [instance, params.other]),
    [["1", "2"]],
  );
});

/** A wide box of 24 pixels, on a canvas of 128 more than the hundredth of it. */
const narrow = (side = 128, mask = null) =>
  editorProblems(
    createLayout(side, side, {
      instances: [createInstance("1", [0.5, 0.8125, 1, 1], { caption: "a green heart", mask })],
    }),
  );

test("a shape is measured once, not anew for every region in front of it", () => {
  const readsAmong = (others) => {
    const { mask, reads } = countedMask();
    const layout = layoutOf("", "a red fox", ...Array(others).fill("an owl"));
    layout.instances[0].mask = mask;
    editorProblems(layout);
    return reads();
  };
  assert.equal(readsAmong(9), readsAmong(1));
});

test("a box of less than two cells of the model's attention is told, and one click makes it as large", () => {
  const [problem, ...others] = narrow();
  assert.deepEqual(others, []);
  assert.equal(problem.code, "problem.box_narrow");
  assert.deepEqual(problem.params, { id: "1", width: 64, height: 24, least: 32 });
  const layout = createLayout(128, 128, { instances: [createInstance("1", [0.5, 0.8125, 1, 1])] });
  assert.deepEqual(fix(createState(layout), problem).state.layout.instances[0].box, [0.5, 0.75, 1, 1]);
});

test("a narrow box is left alone on a canvas that is itself small, and where pixels are enough", () => {
  assert.deepEqual(narrow(48), []);
  assert.deepEqual(narrow(256), []);
  assert.deepEqual(
    narrow(128, {
      polygon: [
        [0.5, 0.85],
        [1, 0.85],
        [1, 1],
      ],
    }),
    [],
  );
});

test("the example is without a fault", () => {
  assert.deepEqual(editorProblems(parse(EXAMPLE)), []);
});

test("things of the prompt without a region are found by their articles", () => {
  const found = (prompt, ...captions) => looseWords(layoutOf(prompt, ...captions));
  assert.deepEqual(found("a red fox and a blue owl", "a red fox"), ["blue owl"]);
  assert.deepEqual(found("a photo of three dogs, and a cat", "a brown dog"), ["cat"]);
  assert.deepEqual(found("a fox sitting in a forest, golden hour", "the fox"), []);
  assert.deepEqual(found("two boxes", "a wooden box"), []);
  assert.deepEqual(found("a red fox"), []);
  assert.deepEqual(found("一只红色的狐狸", "狐狸"), []);
  // Words on -ing are things or kinds of things as often as what somebody does.
  assert.deepEqual(found("a cozy living room with a red sofa", "a red sofa"), []);
  assert.deepEqual(found("a golden ring and a tall building", "a tree"), ["golden ring", "tall building"]);
  assert.deepEqual(found("a man eating a blue apple", "a green pear"), ["man", "blue apple"]);
  assert.deepEqual(found("a wedding cake and an old painting", "a candle"), ["wedding cake"]);
  assert.deepEqual(found("a quiet street, a small beach", "a dog"), []);
});

test("texts that are not in English are told, foreign words in Latin letters and signs are not", () => {
  const told = (prompt, ...captions) =>
    editorProblems(layoutOf(prompt, ...captions))
      .filter(({ code }) => code.endsWith("not_english"))
      .map(({ code, instance }) => [code, instance]);
  assert.deepEqual(told("a fox", "红色的狐狸", "a red fox"), [["problem.not_english", "1"]]);
  assert.deepEqual(told("森林里的狐狸", "a red fox"), [["problem.prompt_not_english", null]]);
  assert.deepEqual(told("", "лиса", "キツネ", "여우", "αλεπού").length, 4);
  assert.deepEqual(told("a café, naïve, 5 µm, 3 × 4, ½", "ein Füchslein — “rot”"), []);
});

test("long captions are told, with the host's own count where there is one", () => {
  const long = Array(90).fill("red").join(" ");
  const about = (options) =>
    editorProblems(layoutOf("", long), options).filter(({ field }) => field === "caption");
  assert.deepEqual(
    about().map(({ code, params }) => [code, params.count]),
    [["problem.caption_long_about", 92]],
  );
  assert.deepEqual(
    about({ tokens: new Map([[long, 80]]) }).map(({ code, params }) => [code, params.count]),
    [["problem.caption_long", 80]],
  );
  assert.deepEqual(about({ tokens: new Map([[long, 77]]) }), []);
  // "a photo of a cat" is five tokens of CLIP's vocabulary between start and end.
  assert.equal(estimateTokens("a photo of a cat"), 7);
});

test("where Draw Regions alone takes the layout, nothing is told that holds for the adapter alone", () => {
  const captions = [Array(90).fill("red").join(" "), "红色的狐狸", ...Array(10).fill("a red fox")];
  const layout = layoutOf("a room", ...captions);
  const joined = { prompt: "a room, a red fox", unnamed: ["3"] };
  const told = (options) => new Set(editorProblems(layout, { joined, ...options }).map(({ code }) => code));
  const [adapter, regions] = [told({}), told({ regionsAlone: true })];
  const ofTheAdapter = ["caption_long_about", "many_instances", "not_english", "unnamed"];
  for (const code of ofTheAdapter) {
    assert.ok(adapter.has(`problem.${code}`), code);
    assert.ok(!regions.has(`problem.${code}`), code);
  }
  assert.ok(regions.has("problem.some_not_english"));
  const english = layoutOf("a room", "a red fox");
  assert.deepEqual(editorProblems(english, { joined, regionsAlone: true }), []);
});
