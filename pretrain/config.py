"""What a model is and how it is trained: two validated settings, nothing else decides a run.

`ModelConfig` uses the names of DeepSeek's released `config.json`, so that a reader who knows one knows the
other.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pretrain.schedule import Piecewise

Count = Annotated[int, Field(gt=0)]
Optional = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Yarn(BaseModel):
    """YaRN (arXiv 2309.00071): RoPE for contexts `factor` times as long as those trained on so far.

    V2 extends with mscale = mscale_all_dim = 0.707, V3 with 1.0; 4,096 positions, factor 40 (reports, sections
    3.1.4 and 4.3). The softmax scale grows by (0.1 mscale_all_dim ln factor + 1)^2.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    factor: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    original_max_position_embeddings: Count = 4096
    beta_fast: Positive = 32.0
    beta_slow: Positive = 1.0
    mscale: NotNegative = 1.0
    mscale_all_dim: NotNegative = 1.0


class ModelConfig(BaseModel):
    """Shape of a model of DeepSeek's line (V3 report, section 2.1): widths and counts only.

    Two attentions: `mla` (V2 and later), `gqa` (DeepSeekMoE and plain models for comparison; as many key heads as
    query heads make it multi-head attention). Without routed experts all layers are dense.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    vocab_size: Count
    hidden_size: Count
    num_hidden_layers: Count
    max_position_embeddings: Count = 4096

    attention: Literal["mla", "gqa"] = "mla"
    num_attention_heads: Count
    # Multi-head latent attention.
    q_lora_rank: Count | None = None
    kv_lora_rank: Count | None = None
    qk_nope_head_dim: Count | None = None
    qk_rope_head_dim: Count | None = None
    v_head_dim: Count | None = None
    # Grouped-query attention.
    num_key_value_heads: Count | None = None
    head_dim: Count | None = None

    rope_theta: Positive = 10000.0
    yarn: Yarn | None = None

    # Feed-forward: `first_k_dense_replace` dense layers, then mixtures of experts.
    intermediate_size: Count
    first_k_dense_replace: Optional = 0
    moe_intermediate_size: Count | None = None
    n_routed_experts: Optional = 0
    n_shared_experts: Optional = 0
    num_experts_per_tok: Optional = 0
    # Experts lie on `n_group` devices; a token goes to at most `topk_group` of them (V2's device-limited routing,
    # V3's node-limited one).
    n_group: Count = 1
    topk_group: Count = 1
    scoring_func: Literal["sigmoid", "softmax"] = "sigmoid"
    norm_topk_prob: bool = True
    routed_scaling_factor: Positive = 1.0
    # While training, what a group gets beyond this many times its share is dropped, least affinity first, in nine
    # sequences of ten (V2 report, section 2.2.4). None, as in V3: nothing is ever dropped.
    capacity_factor: Positive | None = None

    num_nextn_predict_layers: Optional = 0  # depth of multi-token prediction
    rms_norm_eps: Positive = 1e-6
    initializer_range: Positive = 0.006

    @model_validator(mode="after")
    def _consistent(self) -> "ModelConfig":
        needed = {
            "mla": ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"),
            "gqa": ("num_key_value_heads", "head_dim"),
        }[self.attention]
        if self.n_routed_experts:
            needed += ("moe_intermediate_size", "num_experts_per_tok")
        if missing := [name for name in needed if not getattr(self, name)]:
            raise ValueError(f"{', '.join(missing)} must be given")
        if self.rope_dim % 2:
            name = "qk_rope_head_dim" if self.attention == "mla" else "head_dim"
            raise ValueError(f"{name} must be even: RoPE turns pairs of dimensions")
        if self.attention == "gqa" and self.num_attention_heads % (self.num_key_value_heads or 1):
            raise ValueError("num_attention_heads must be a multiple of num_key_value_heads")
        if self.first_k_dense_replace > self.num_hidden_layers:
            raise ValueError("first_k_dense_replace cannot exceed num_hidden_layers")
        if self.n_routed_experts:
            self._check_experts()
        elif self.num_experts_per_tok or self.n_shared_experts or self.capacity_factor:
            raise ValueError(
                "n_routed_experts = 0 makes a dense model: the other settings of experts must go"
            )
        return self

    def _check_experts(self) -> None:
        if self.n_routed_experts % self.n_group:
            raise ValueError("n_routed_experts must be a multiple of n_group")
        if self.topk_group > self.n_group:
            raise ValueError("topk_group cannot exceed n_group")
        if self.num_experts_per_tok > self.topk_group * (self.n_routed_experts // self.n_group):
            raise ValueError("num_experts_per_tok exceeds the experts in topk_group groups")

    @property
    def rope_dim(self) -> int:
        """Dimensions of a head that carry its position."""
        width = self.qk_rope_head_dim if self.attention == "mla" else self.head_dim
        assert width is not None
        return width

    @property
    def n_dense_layers(self) -> int:
        """Leading layers of the main model without experts."""
        return self.first_k_dense_replace if self.n_routed_experts else self.num_hidden_layers

    @property
    def n_moe_layers(self) -> int:
        """Layers with a router: those of the main model, then one for each MTP depth."""
        if not self.n_routed_experts:
            return 0
        return self.num_hidden_layers - self.first_k_dense_replace + self.num_nextn_predict_layers


class TrainingConfig(BaseModel):
    """One run: the model, the data order, the optimizer and what is written when.

    Defaults are V3's (report, section 4.2): AdamW 0.9/0.95, weight decay 0.1, clipping at 1.0, bias speed
    1e-3, sequence-wise balance 1e-4, MTP weight 0.3. Whatever is a `Piecewise` may change while the run goes on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: ModelConfig
    start_from: str | None = None  # a run, a checkpoint or a Hugging Face folder whose weights to begin with
    sequence_length: Annotated[int, Field(ge=4)]  # of the packed sequences
    context_length: Piecewise | None = (
        None  # packed sequences are split into pieces of this length; None: whole
    )
    batch_sequences: Piecewise  # packed sequences a step, rounded
    micro_batch_sequences: Count | None = None  # at a time; None: the whole batch at once
    steps: Count

    learning_rate: Piecewise
    warmup_steps: Optional = 0
    optimizer: Literal["adamw", "muon"] = (
        "adamw"  # muon: for the matrices within the blocks, AdamW for the rest
    )
    moments: Literal["float32", "bfloat16"] = (
        "float32"  # of AdamW and Muon; weights and gradients stay float32
    )
    beta1: Share = 0.9
    beta2: Share = 0.95
    adam_eps: Positive = 1e-8
    muon_momentum: Share = 0.95
    muon_rms: Positive = (
        0.2  # root mean square of an update before the learning rate: that of AdamW (Moonlight)
    )
    newton_schulz: Literal["five", "eight_and_two"] = "five"
    weight_decay: NotNegative = 0.1
    clip_norm: Positive = 1.0

    bias_update_speed: Piecewise = Piecewise(start=0.001)
    balance_loss_weight: NotNegative = 0.0001  # V3's, over a sequence
    expert_balance_weight: NotNegative = (
        0.0  # V1 and V2: over experts, devices (groups) and what they receive
    )
    device_balance_weight: NotNegative = 0.0
    communication_balance_weight: NotNegative = 0.0
    mtp_loss_weight: Piecewise = Piecewise(start=0.3)
    document_mask: bool = False  # V3 packs documents without a mask between them

    # A step whose loss or gradient is this many times the median of the last ones is a spike. None: none is.
    spike_factor: Annotated[float, Field(gt=1, allow_inf_nan=False)] | None = None
    after_spike: Literal["skip", "roll_back"] = "skip"  # leave the batch out, or go back and leave it out
    ema_decay: Share | None = None  # a running mean of the weights, kept on the CPU

    seed: int = Field(default=0, ge=0, lt=2**63)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"  # of activations; weights stay float32
    # Activations computed again in the backward pass: none, those cheap to make (norms, SwiGLU, the up-projections
    # of attention; V3 report, section 3.2.3), or all within a block.
    recompute: Literal["none", "cheap", "block"] = "none"
    deterministic: bool = False  # refuse operations whose sums depend on chance
    threads: Count | None = None  # None: what torch finds

    eval_every: Count = 100
    eval_sequences: Count | None = None  # held-out sequences read each time; None: all
    checkpoint_every: Count = 100
    keep_checkpoints: Count = 2
    tensorboard: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> "TrainingConfig":
        if self.sequence_length > self.model.max_position_embeddings:
            raise ValueError("sequence_length exceeds the model's max_position_embeddings")
        shortest = self.context_length.values if self.context_length else [self.sequence_length]
        if min(shortest) < self.model.num_nextn_predict_layers + 2:
            raise ValueError("sequence_length or context_length is too short for num_nextn_predict_layers")
        if min(self.batch_sequences.values) < 1:
            raise ValueError("batch_sequences must be 1 or more all along")
        for name in ("learning_rate", "bias_update_speed", "mtp_loss_weight"):
            if min(getattr(self, name).values) < 0:
                raise ValueError(f"{name} must not become negative")
        grouped = self.device_balance_weight or self.communication_balance_weight
        if grouped and self.model.n_group == 1:
            raise ValueError("the balance of devices needs n_group, the number of devices, above 1")
        return self

    def identity(self) -> dict[str, Any]:
        """The settings that decide the weights, as JSON; a run may resume only under the same ones."""
        free = {"threads", "recompute", "tensorboard"}
        free |= {"eval_every", "eval_sequences", "keep_checkpoints"}
        # Where runs go back from spikes it says how far.
        if self.spike_factor is None or self.after_spike != "roll_back":
            free.add("checkpoint_every")
        return self.model_dump(mode="json", exclude=free)
