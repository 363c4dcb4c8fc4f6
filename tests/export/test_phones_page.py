"""The Kotlin of docs/deploy/phones.md, compiled with stand-ins for Android and LiteRT, and run on a JVM."""

import os
import re
import subprocess

import pytest

from export.bundle.golden_resize import write_golden_resize
from pipeline.config.reading import READING
from tests.commands import ROOT

KOTLINC = os.environ.get("KOTLINC")

pytestmark = pytest.mark.skipif(not KOTLINC, reason="KOTLINC does not name a compiler of Kotlin")

STAND_INS = {
    "Context": """
package android.content
class Assets { fun open(name: String) = java.io.File(name).inputStream() }
class Context { val assets = Assets() }
""",
    "Bitmap": """
package android.graphics
class Bitmap(private val image: java.awt.image.BufferedImage) {
    val width get() = image.width
    val height get() = image.height
    fun getPixels(to: IntArray, offset: Int, stride: Int, x: Int, y: Int, width: Int, height: Int) {
        image.getRGB(x, y, width, height, to, offset, stride)
    }
}
""",
    "LiteRT": """
package com.google.ai.edge.litert
enum class Accelerator { CPU, GPU }
class TensorBuffer(private var values: FloatArray) {
    fun writeFloat(data: FloatArray) { values = data }
    fun readFloat() = values
}
class CompiledModel {
    class Options(vararg val accelerators: Accelerator)
    fun createInputBuffers() = listOf(TensorBuffer(floatArrayOf()))
    fun createOutputBuffers() = listOf(TensorBuffer(floatArrayOf(0f, 2f, 1f)))
    fun run(inputs: List<TensorBuffer>, outputs: List<TensorBuffer>) {
        java.io.File("seen.bin").writeBytes(ByteArray(inputs[0].readFloat().size) {
            inputs[0].readFloat()[it].toInt().toByte()
        })
        check(outputs.size == 1)
    }
    companion object {
        fun create(assets: android.content.Assets, name: String, options: Options): CompiledModel {
            check(name == "model_float16.tflite" && options.accelerators.size == 2)
            assets.open("labels.txt").close()
            return CompiledModel()
        }
    }
}
""",
    "Main": """
fun main() {
    val image = javax.imageio.ImageIO.read(java.io.File("golden/large.png"))
    print(Classifier(android.content.Context(), 32).classify(android.graphics.Bitmap(image)))
}
""",
}


def test_kotlin_sees_an_image_as_the_contract_says(tmp_path):
    page = (ROOT / "docs/deploy/phones.md").read_text()
    _, code = re.findall(r"```kotlin\n(.*?)```", page, re.DOTALL)
    for name, text in {**STAND_INS, "Classifier": code}.items():
        (tmp_path / f"{name}.kt").write_text(text)
    sources = [f"{name}.kt" for name in (*STAND_INS, "Classifier")]
    command = [KOTLINC, *sources, "-include-runtime", "-d", "app.jar"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    write_golden_resize(32, READING, tmp_path / "golden")
    (tmp_path / "labels.txt").write_text("cat\ndog\nowl\n")
    ran = subprocess.run(["java", "-jar", "app.jar"], cwd=tmp_path, capture_output=True, text=True)
    assert ran.stdout == "dog", ran.stderr
    expected = (tmp_path / "golden/large.bin").read_bytes()
    seen = (tmp_path / "seen.bin").read_bytes()
    assert len(seen) == len(expected)
    assert max(abs(one - other) for one, other in zip(seen, expected, strict=True)) <= 1
