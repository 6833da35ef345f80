"""Operations that are free by declaration: they move memory, or not even that, and count no multiply-accumulates.

Names are those of torch's dispatcher without the underscore of the form that overwrites.
"""

from __future__ import annotations

from collections.abc import Set

__all__ = ["FREE", "UNREAD", "UNTOUCHED"]

_VIEWS = """
    _conj _neg_view _reshape_alias _unsafe_view alias as_strided detach diagonal expand lift_fresh permute real imag
    select slice split split_with_sizes squeeze t transpose unbind unfold unsafe_split
    unsafe_split_with_sizes unsqueeze view view_as_complex view_as_real
"""
_ALLOCATIONS = "empty empty_like empty_permuted empty_strided new_empty new_empty_strided"
_QUESTIONS = "_local_scalar_dense equal is_same_size _fused_sdp_choice"
_CREATIONS = """
    arange eye fft_fftfreq fft_rfftfreq full full_like linspace new_full new_ones new_zeros ones ones_like scalar_tensor
    tril_indices triu_indices zeros zeros_like
"""
_RANDOM = """
    bernoulli exponential multinomial normal rand rand_like randint randint_like randn randn_like randperm uniform
    native_dropout
"""
_COPIES = """
    _pin_memory _to_copy cat channel_shuffle clone complex constant_pad_nd copy fill flip im2col pixel_shuffle
    native_channel_shuffle pixel_unshuffle reflection_pad1d reflection_pad2d reflection_pad3d repeat
    replication_pad1d replication_pad2d replication_pad3d resize roll stack tril triu upsample_nearest1d
    upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d
    _upsample_nearest_exact3d zero
"""
_INDEXING = """
    _index_put_impl _unique2 bucketize embedding gather index index_copy index_fill index_put index_select masked_fill
    masked_scatter masked_select nonzero one_hot repeat_interleave scatter searchsorted sort take topk where
    diagonal_copy kthvalue
"""
_ELEMENTWISE = """
    abs acos acosh add addcdiv addcmul angle asin asinh atan atan2 atanh bitwise_and bitwise_left_shift bitwise_not
    bitwise_or bitwise_right_shift bitwise_xor ceil clamp clamp_max clamp_min conj_physical _conj_physical copysign cos
    cosh div eq erf erfc erfinv exp exp2 expm1 floor floor_divide fmax fmin fmod frac ge gt hypot isfinite isinf isnan
    ldexp le lerp lgamma log log10 log1p log2 logaddexp logical_and logical_not logical_or logical_xor logit lt maximum
    minimum mul nan_to_num ne neg polar pow reciprocal remainder round rsqrt rsub sgn sign signbit sin sinc sinh sqrt
    sub tan tanh trunc xlogy
"""
_ACTIVATIONS = """
    _log_softmax _prelu_kernel _safe_softmax _softmax celu elu gelu glu hardshrink hardsigmoid hardswish hardtanh
    leaky_relu log_sigmoid_forward mish relu relu6 rrelu_with_noise selu sigmoid silu softplus softshrink threshold
    _transform_bias_rescale_qkv _thnn_fused_lstm_cell _thnn_fused_gru_cell
"""
_NORMALISATION = """
    _batch_norm_no_update _fused_rms_norm _native_batch_norm_legit _native_batch_norm_legit_no_training
    cudnn_batch_norm linalg_vector_norm native_batch_norm native_group_norm native_layer_norm norm renorm std std_mean
    var var_mean _weight_norm_interface
"""
_COMPARISONS = """
    adaptive_max_pool2d adaptive_max_pool3d all amax amin aminmax any argmax argmin argsort cummax cummin logsumexp max
    max_pool2d_with_indices max_pool3d_with_indices median min prod
"""

UNTOUCHED: Set[str] = frozenset(" ".join((_VIEWS, _ALLOCATIONS, _QUESTIONS)).split())
"""Views, allocations, and questions that the host answers: they move no memory."""

UNREAD: Set[str] = frozenset(("copy", "fill", "zero", *_CREATIONS.split()))
"""These don't read their first argument: they overwrite it, or take no more than its shape and type."""

FREE: Set[str] = UNTOUCHED | frozenset(
    " ".join(
        (_CREATIONS, _RANDOM, _COPIES, _INDEXING, _ELEMENTWISE, _ACTIVATIONS, _NORMALISATION, _COMPARISONS)
    ).split()
)
"""All that count no multiply-accumulates: those, and creation and random numbers, copies and padding, indexing and
nearest-neighbour resampling, element-wise arithmetic, activations and softmax, normalisation and norms, comparisons and
maxima (max pooling)."""
