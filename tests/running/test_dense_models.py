"""Networks of every library that answer per pixel, and one that detects: what can be asked of them, and what can't."""

import pytest
import torch

import visionscope as vs
from reference.dense_networks import segmenter
from visionscope.core.classes import class_counts
from visionscope.core.logits import find_readout
from visionscope.curvature.scopes import find_scopes
from visionscope.errors import NotApplicableError
from visionscope.models.detectors import detects, looked_at
from visionscope.models.load import load_model
from visionscope.tracing import trace

segmentation_models_pytorch = pytest.importorskip("segmentation_models_pytorch", reason="needs the dense extra")
transformers = pytest.importorskip("transformers", reason="needs the hf extra")

CLASSES, SIZE = 5, 64
IMAGES = torch.randn(8, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
MASKS = torch.randint(CLASSES, (8, SIZE, SIZE), generator=torch.Generator().manual_seed(1))

SEGFORMER = transformers.SegformerConfig(
    num_labels=CLASSES,
    depths=[1, 1, 1, 1],
    hidden_sizes=[8, 16, 24, 32],
    decoder_hidden_size=16,
    num_attention_heads=[1, 1, 2, 2],
    architectures=["SegformerForSemanticSegmentation"],
)
UPERNET = transformers.UperNetConfig(
    backbone_config=transformers.SwinConfig(
        image_size=SIZE,
        embed_dim=12,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=2,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    ),
    num_labels=CLASSES,
    hidden_size=16,
    auxiliary_in_channels=48,
    auxiliary_channels=8,
)


def of_transformers(folder, config):
    config.save_pretrained(folder)
    return load_model(f"hf:{folder}", random_weights=0, size=SIZE).model


NETWORKS = {
    "torchvision": lambda path: (
        load_model(f"torchvision:lraspp_mobilenet_v3_large?num_classes={CLASSES}", random_weights=0).model
    ),
    "segformer": lambda path: of_transformers(path / "segformer", SEGFORMER),
    "upernet": lambda path: of_transformers(path / "upernet", UPERNET),
    "smp": lambda path: segmentation_models_pytorch.Unet("resnet18", encoder_weights=None, classes=CLASSES).eval(),
    "own": lambda path: segmenter(classes=CLASSES).float(),
}


@pytest.mark.parametrize("library", NETWORKS)
def test_a_network_of_each_library_is_looked_into_and_asked(library, tmp_path):
    network = NETWORKS[library](tmp_path)
    with torch.no_grad():
        found = find_readout(network, IMAGES, class_counts(network))
    assert (found.dense, found.columns) == (True, CLASSES)
    fourier = vs.fourier(network, IMAGES).table.to_pylist()
    assert len({row["point"] for row in fourier}) > 2
    lesion = vs.lesion(network, IMAGES, MASKS)
    (first, *others) = lesion.table.to_pylist()
    assert first["right"].startswith(f"pixels of {CLASSES} classes:")
    assert others
    if library == "torchvision":
        with pytest.raises(NotApplicableError, match="answers per pixel, which needs masks"):
            vs.lesion(network, IMAGES, MASKS[:, 0, 0])


def test_a_segmenter_that_answers_per_image_too_is_told_how_its_masks_are_asked_for():
    network = segmentation_models_pytorch.Unet(
        "resnet18", encoder_weights=None, classes=CLASSES, aux_params={"classes": CLASSES}
    ).eval()
    reason = (
        r"answers per image, .*; if its output 0 is logits per pixel, name it with --output 0 \(output= in Python\)"
    )
    with pytest.raises(NotApplicableError, match=reason):
        vs.calibration(network, IMAGES, MASKS)
    with torch.no_grad():
        found = find_readout(network, IMAGES, class_counts(network), output="0")
    assert (found.dense, found.columns, found.per_pixel) == (True, CLASSES, "")


def test_the_decoder_is_the_scope_after_the_last_point_of_the_encoder():
    network = NETWORKS["smp"](None)
    traced = trace(network, IMAGES[:2])
    assert {point.name.partition(".")[0] for point in traced.points} == {"stem", "encoder"}
    scopes = {
        scope.name: scope.parameters for scope in find_scopes(network, traced, IMAGES[:2]) if scope.level == "stage"
    }
    known = [name for name, _ in network.named_parameters()]
    assert set(scopes["head"]) == {name for name in known if name.startswith(("decoder.", "segmentation_head."))}
    assert sum(map(len, scopes.values())) == len(known)


def test_of_a_network_that_detects_the_backbone_is_looked_at():
    loaded = load_model("torchvision:fasterrcnn_mobilenet_v3_large_320_fpn?num_classes=5", random_weights=0)
    assert loaded.input.size == (320, 320)
    assert loaded.input.mean == pytest.approx((0.485, 0.456, 0.406))
    network = loaded.model
    assert detects(network)
    assert looked_at(network) is network.backbone
    assert not detects(network.backbone)
    some = vs.variance(network, IMAGES).table.to_pylist()
    own = vs.variance(network.backbone, IMAGES).table.to_pylist()
    assert [row["point"] for row in some] == [row["point"] for row in own]
    assert len(some) > 5
    with pytest.raises(
        NotApplicableError, match="detects objects; the feature maps of its backbone are looked at, and lesion needs"
    ):
        vs.lesion(network, IMAGES, MASKS[:, 0, 0])


def detr():
    backbone = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], layer_type="basic", out_features=["stage4"]
    )
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "d_model": 16}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    return transformers.DetrConfig(
        backbone_config=backbone, num_queries=5, architectures=["DetrForObjectDetection"], **sizes, **heads
    )


def yolos():
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    return transformers.YolosConfig(
        image_size=[SIZE, SIZE], num_detection_tokens=5, architectures=["YolosForObjectDetection"], **sizes
    )


@pytest.mark.parametrize(
    ("config", "backbone"), [(detr, "ResNetBackbone"), (yolos, "YolosModel")], ids=["detr", "yolos"]
)
def test_of_a_network_of_transformers_that_detects_the_backbone_is_looked_at(config, backbone, tmp_path):
    network = of_transformers(tmp_path, config())
    assert detects(network)
    part = looked_at(network)
    assert type(part).__name__ == backbone
    assert not detects(part)
    some = vs.variance(network, IMAGES).table.to_pylist()
    own = vs.variance(part, IMAGES).table.to_pylist()
    assert [row["point"] for row in some] == [row["point"] for row in own]
    assert len(some) >= 4
    with pytest.raises(
        NotApplicableError, match="detects objects; the feature maps of its backbone are looked at, and lesion needs"
    ):
        vs.lesion(network, IMAGES, MASKS[:, 0, 0])
