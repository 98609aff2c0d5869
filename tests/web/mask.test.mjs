/** Masks: what is drawn is what is kept. */

import assert from "node:assert/strict";
import { test } from "node:test";
import * as masks from "../../web/lib/mask.mjs";
import { HIGHEST, LOWEST } from "../../web/lib/document.mjs";
import {
  between,
  countedMask,
  forEachSeed,
  integer,
  near,
  randomBox,
  randomMask,
  randomRaster,
} from "./support.mjs";

test("a raster comes back from its run-length", () => {
  forEachSeed((random) => {
    const { pixels, width, height } = randomRaster(random);
    const mask = masks.fromRaster(pixels, width, height);
    assert.equal(masks.fault(mask), null);
    assert.deepEqual(masks.raster(mask, width, height), pixels);
    assert.equal(masks.isEmpty(mask), !pixels.includes(1));
  });
});

test("a point is inside exactly when its pixel is", () => {
  forEachSeed((random) => {
    const mask = randomMask(random);
    const side = mask.rle ? { width: mask.rle.size[1], height: mask.rle.size[0] } : { width: 16, height: 16 };
    const pixels = masks.raster(mask, side.width, side.height);
    pixels.forEach((value, at) => {
      const [x, y] = [
        ((at % side.width) + 0.5) / side.width,
        (Math.floor(at / side.width) + 0.5) / side.height,
      ];
      assert.equal(masks.contains(mask, x, y), value === 1);
    });
  }, 60);
});

test("outlines enclose the same pixels, holes included", () => {
  forEachSeed((random) => {
    const { pixels, width, height } = randomRaster(random);
    const mask = masks.fromRaster(pixels, width, height);
    const found = new Uint8Array(pixels.length);
    for (const loop of masks.outlines(mask)) {
      masks.raster({ polygon: loop }, width, height).forEach((value, at) => (found[at] ^= value));
    }
    assert.deepEqual(found, pixels);
  });
});

test("a path closes every outline", () => {
  const ring = { rle: { size: [4, 4], counts: [5, 2, 2, 2, 5] } };
  assert.equal(
    masks.svgPath(
      {
        polygon: [
          [0, 0],
          [1, 0],
          [0.5, 0.25],
        ],
      },
      100,
      200,
    ),
    "M0 0L100 0L50 50Z",
  );
  assert.equal(masks.svgPath(ring, 4, 4).match(/M/g).length, masks.outlines(ring).length);
});

test("a run-length is traced once, however often and large it is drawn", () => {
  const { mask, reads } = countedMask();
  const [small, large] = [masks.svgPath(mask, 4, 4), masks.svgPath(mask, 8, 8)];
  assert.equal(reads(), 1);
  assert.notEqual(small, large);
  assert.deepEqual(
    large.match(/[\d.]+/g).map(Number),
    small.match(/[\d.]+/g).map((value) => 2 * value),
  );
});

test("bounds hold every pixel and touch one on each side", () => {
  forEachSeed((random) => {
    const mask = randomMask(random);
    if (!mask.rle) return;
    const [height, width] = mask.rle.size;
    const [x0, y0, x1, y1] = masks
      .maskBounds(mask)
      .map((value, index) => Math.round(value * (index % 2 ? height : width)));
    const places = [...masks.raster(mask, width, height)].flatMap((value, at) =>
      value ? [[at % width, Math.floor(at / width)]] : [],
    );
    assert.deepEqual(
      [x0, x1 - 1],
      [Math.min(...places.map(([x]) => x)), Math.max(...places.map(([x]) => x))],
    );
    assert.deepEqual(
      [y0, y1 - 1],
      [Math.min(...places.map(([, y]) => y)), Math.max(...places.map(([, y]) => y))],
    );
  });
});

test("a mask seen through the whole canvas is itself, a shifted one comes back", () => {
  forEachSeed((random) => {
    const mask = randomMask(random);
    assert.deepEqual(masks.seenThrough(mask, [0, 0, 1, 1]), mask);
    if (!mask.polygon) return;
    const [x0, y0, x1, y1] = randomBox(random, 0.2);
    const there = masks.seenThrough(mask, [x0, y0, x1, y1]);
    const back = masks.seenThrough(there, [
      -x0 / (x1 - x0),
      -y0 / (y1 - y0),
      (1 - x0) / (x1 - x0),
      (1 - y0) / (y1 - y0),
    ]);
    back.polygon.forEach((point, at) => assert.ok(near(point, mask.polygon[at], 1e-9)));
  });
});

test("a stroke paints what lies within the radius, and erasing it leaves nothing", () => {
  forEachSeed((random) => {
    const canvas = { width: 1000, height: 500 };
    const size = masks.workingSize(canvas);
    const pixels = new Uint8Array(size.width * size.height);
    const points = Array.from({ length: 3 }, () => [random(), random()]);
    const radius = between(random, 5, 80);
    masks.paint(pixels, size, canvas, points, radius);
    pixels.forEach((value, at) => {
      const place = [
        ((at % size.width) + 0.5) * (1000 / size.width),
        (Math.floor(at / size.width) + 0.5) * (500 / size.height),
      ];
      const nearest = Math.min(
        ...points.map(([x, y]) => Math.hypot(x * 1000 - place[0], y * 500 - place[1])),
      );
      if (nearest < radius - 1e-6) assert.equal(value, 1);
    });
    masks.paint(pixels, size, canvas, points, radius + 1, 0);
    assert.ok(!pixels.includes(1));
  }, 20);
});

test("the raster to paint on is a quarter of the canvas, bounded", () => {
  assert.deepEqual(masks.workingSize({ width: 1024, height: 768 }), { width: 256, height: 192 });
  assert.deepEqual(masks.workingSize({ width: 16384, height: 16 }), { width: 512, height: 1 });
});

test("simplifying leaves no point farther off than the tolerance", () => {
  forEachSeed((random) => {
    const points = Array.from({ length: 200 }, (_, index) => {
      const angle = (index / 200) * 2 * Math.PI;
      const reach = 0.3 + 0.05 * Math.sin(angle * integer(random, 2, 2)) + between(random, -0.002, 0.002);
      return [0.5 + reach * Math.cos(angle), 0.5 + reach * Math.sin(angle)];
    });
    const kept = masks.simplify(points, 0.01);
    assert.ok(kept.length < 60 && kept.length >= 3);
    const distances = points.map((point) =>
      Math.min(...kept.map((from, at) => toSegment(point, from, kept[(at + 1) % kept.length]))),
    );
    assert.ok(Math.max(...distances) <= 0.01 + 1e-9);
  }, 20);
  assert.equal(
    masks.simplify(
      [
        [0, 0],
        [1, 0],
        [1, 1],
      ],
      10,
    ).length,
    3,
  );
});

function toSegment([x, y], [xa, ya], [xb, yb]) {
  const share = Math.min(
    1,
    Math.max(0, ((x - xa) * (xb - xa) + (y - ya) * (yb - ya)) / ((xb - xa) ** 2 + (yb - ya) ** 2 || 1)),
  );
  return Math.hypot(x - xa - share * (xb - xa), y - ya - share * (yb - ya));
}

test("a box as a polygon has the same bounds", () => {
  forEachSeed((random) => {
    const box = randomBox(random);
    assert.deepEqual(masks.maskBounds(masks.boxPolygon(box)), box);
    assert.ok(box.every((value) => value >= LOWEST && value <= HIGHEST));
  }, 20);
});

test("a hostile run-length costs no more than its text", () => {
  const mask = { rle: { size: [16384, 16384], counts: [0, 16384 * 16384] } };
  const start = performance.now();
  assert.equal(masks.raster(mask, 32, 32).join(""), "1".repeat(1024));
  assert.deepEqual(masks.maskBounds(mask), [0, 0, 1, 1]);
  assert.ok(performance.now() - start < 1_000);
});

test("a shape made small and large again is still that shape", () => {
  forEachSeed((random) => {
    const { pixels, width, height } = randomRaster(random);
    if (!pixels.includes(1)) return;
    const mask = masks.fromRaster(pixels, width, height);
    const small = masks.seenThrough(mask, [-2, -1, 2, 3]);
    assert.deepEqual(small.rle.size, [height * 4, width * 4]);
    const large = masks.seenThrough(small, [0.5, 0.25, 0.75, 0.5]);
    assert.deepEqual(masks.raster(large, width, height), pixels);
  });
});
