"""From a teacher to a student and its ONNX files: python student.py TEACHER TEXT OUT [TOKENS]."""

import sys

from harness import api

source, text_file, out = sys.argv[1:4]
tokens = int(sys.argv[4]) if len(sys.argv) > 4 else 2_000_000
text = api.read_text(text_file)

teacher = api.load(source)
if teacher.has_new_head:
    teacher = api.fit_head(teacher, text, tokens=tokens // 10)
teacher = api.trim(teacher, text, tokens="1/2")

student = api.shorten(teacher, teacher.shape.layers // 2)
student = api.distill(student, teacher, text, tokens=tokens, progress=print)
student = api.prune(student, student.shape.ffn * 2 // 3, text, tokens=tokens // 10)
student = api.narrow(student, student.shape.hidden // 2, text, tokens=tokens // 10)
student = api.distill(student, teacher, text, tokens=tokens)

folder = student.save(f"{out}/student")
record = api.export(folder, "mlm", f"{out}/onnx", graphs=["legacy"], seconds=0.5)
print(f"{teacher.num_parameters:,} -> {student.num_parameters:,} parameters; take {record.default}")
