// node scripts.mjs SCRIPT... < []: print the code points that Unicode assigns to scripts, as JSON.

const pattern = new RegExp(`[${process.argv.slice(2).map((name) => `\\p{Script=${name}}`).join("")}]`, "u");
const points = Array.from({ length: 0x110000 }, (_, point) => point);
process.stdout.write(JSON.stringify(points.filter((point) => pattern.test(String.fromCodePoint(point)))));
