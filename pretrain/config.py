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


class ModelConfig(BaseModel):
    """Shape of a DeepSeek-V3 style model (V3 report, section 2.1): widths and counts only."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    vocab_size: Count
    hidden_size: Count
    num_hidden_layers: Count
    max_position_embeddings: Count = 4096

    # Multi-head latent attention.
    num_attention_heads: Count
    q_lora_rank: Count | None = None
    kv_lora_rank: Count
    qk_nope_head_dim: Count
    qk_rope_head_dim: Count
    v_head_dim: Count
    rope_theta: Positive = 10000.0

    # Feed-forward: `first_k_dense_replace` dense layers, then mixtures of experts.
    intermediate_size: Count
    first_k_dense_replace: Optional
    moe_intermediate_size: Count
    n_routed_experts: Count
    n_shared_experts: Count
    num_experts_per_tok: Count
    n_group: Count = 1
    topk_group: Count = 1
    scoring_func: Literal["sigmoid", "softmax"] = "sigmoid"
    norm_topk_prob: bool = True
    routed_scaling_factor: Positive = 1.0

    num_nextn_predict_layers: Optional = 0  # depth of multi-token prediction
    rms_norm_eps: Positive = 1e-6
    initializer_range: Positive = 0.006

    @model_validator(mode="after")
    def _consistent(self) -> "ModelConfig":
        if self.qk_rope_head_dim % 2:
            raise ValueError("qk_rope_head_dim must be even: RoPE turns pairs of dimensions")
        if self.first_k_dense_replace > self.num_hidden_layers:
            raise ValueError("first_k_dense_replace cannot exceed num_hidden_layers")
        if self.n_routed_experts % self.n_group:
            raise ValueError("n_routed_experts must be a multiple of n_group")
        if self.topk_group > self.n_group:
            raise ValueError("topk_group cannot exceed n_group")
        if self.num_experts_per_tok > self.topk_group * (self.n_routed_experts // self.n_group):
            raise ValueError("num_experts_per_tok exceeds the experts in topk_group groups")
        return self

    @property
    def n_moe_layers(self) -> int:
        """Layers with a router: those of the main model, then one for each MTP depth."""
        return self.num_hidden_layers - self.first_k_dense_replace + self.num_nextn_predict_layers


class TrainingConfig(BaseModel):
    """One run: the model, the data order, the optimizer and what is written when.

    Defaults are V3's (report, section 4.2): AdamW 0.9/0.95, weight decay 0.1, clipping at 1.0, bias speed
    1e-3, sequence-wise balance 1e-4, MTP weight 0.3.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: ModelConfig
    sequence_length: Annotated[int, Field(ge=4)]
    batch_sequences: Count
    micro_batch_sequences: Count | None = None  # None: the whole batch at once
    steps: Count

    learning_rate: Piecewise
    warmup_steps: Optional = 0
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    adam_eps: Positive = 1e-8
    weight_decay: NotNegative = 0.1
    clip_norm: Positive = 1.0

    bias_update_speed: Piecewise = Piecewise(start=0.001)
    balance_loss_weight: NotNegative = 0.0001
    mtp_loss_weight: Piecewise = Piecewise(start=0.3)
    document_mask: bool = False  # V3 packs documents without a mask between them

    seed: int = Field(default=0, ge=0, lt=2**63)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"  # of activations; weights stay float32
    threads: Count | None = None  # None: what torch finds

    eval_every: Count = 100
    eval_sequences: Count | None = None  # held-out sequences read each time; None: all
    checkpoint_every: Count = 100
    keep_checkpoints: Count = 2

    @model_validator(mode="after")
    def _consistent(self) -> "TrainingConfig":
        if self.sequence_length > self.model.max_position_embeddings:
            raise ValueError("sequence_length exceeds the model's max_position_embeddings")
        if self.sequence_length < self.model.num_nextn_predict_layers + 2:
            raise ValueError("sequence_length is too short for num_nextn_predict_layers")
        if self.micro_batch_sequences and self.batch_sequences % self.micro_batch_sequences:
            raise ValueError("batch_sequences must be a multiple of micro_batch_sequences")
        return self

    @property
    def tokens_per_step(self) -> int:
        return self.batch_sequences * self.sequence_length

    def identity(self) -> dict[str, Any]:
        """The settings that decide the weights, as JSON; a run may resume only under the same ones."""
        free = {"threads", "eval_every", "eval_sequences", "checkpoint_every", "keep_checkpoints"}
        return self.model_dump(mode="json", exclude=free)
