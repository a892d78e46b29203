"""Mistakes for `tests.stress.mutations` to make."""

from typing import NamedTuple


class Mutation(NamedTuple):
    """A mistake in one place.

    Attributes:
      name, file: what is wrong, and where, below `jaxgan/`.
      old, new: the text without the mistake, found there once, and with it.
      tests: which test files ought to notice: `gan` is `tests/test_gan.py`.
    """

    name: str
    file: str
    old: str
    new: str
    tests: str


MUTATIONS = (
    # Losses and penalties.
    Mutation(
        "sign_of_a_loss",
        "losses/adversarial.py",
        "return -jnp.mean(softplus(at_least_float32(fake_scores)))",
        "return jnp.mean(softplus(at_least_float32(fake_scores)))",
        "losses",
    ),
    Mutation(
        "sum_for_a_mean",
        "losses/adversarial.py",
        "jnp.mean(jnp.square(at_least_float32",
        "jnp.sum(jnp.square(at_least_float32",
        "losses",
    ),
    Mutation(
        "smoothing_of_the_wrong_side",
        "losses/adversarial.py",
        "label_smoothing * real)",
        "label_smoothing * fake)",
        "losses",
    ),
    Mutation(
        "loss_in_low_precision",
        "losses/adversarial.py",
        "scores.astype(jnp.promote_types(scores.dtype, jnp.float32))",
        "scores",
        "losses",
    ),
    Mutation(
        "hinge_turned_around",
        "losses/adversarial.py",
        "relu(1.0 + at_least_float32(fake",
        "relu(1.0 - at_least_float32(fake",
        "losses",
    ),
    Mutation(
        "pairs_turned_around", "losses/adversarial.py", "softplus(fake - real)", "softplus(real - fake)", "losses"
    ),
    Mutation(
        "mismatch_weight_of_the_wrong_term",
        "losses/auxiliary.py",
        "(1.0 - mismatch_weight) * against_fake + mismatch_weight * against_mismatched",
        "mismatch_weight * against_fake + (1.0 - mismatch_weight) * against_mismatched",
        "losses",
    ),
    Mutation(
        "constant_of_a_conjugate",
        "divergences.py",
        "composite=lambda v: v - 1.0",
        "composite=lambda v: v",
        "divergences",
    ),
    Mutation(
        "generator_of_the_other_form",
        "divergences.py",
        "divergence.activation if practical else divergence.composite",
        "divergence.composite if practical else divergence.activation",
        "divergences",
    ),
    Mutation("penalty_without_its_half", "penalties.py", "(critic, real)) / 2", "(critic, real))", "penalties"),
    Mutation("penalty_over_one_axis", "penalties.py", "tuple(range(1, one.ndim))", "(1,)", "penalties"),
    Mutation("root_without_its_constant", "penalties.py", " + 1e-12)", ")", "penalties"),
    Mutation("one_point_for_a_whole_batch", "penalties.py", "(key, (real.shape[0],)", "(key, (1,)", "penalties"),
    # Optimizers and averages.
    Mutation(
        "average_without_its_decay", "optim.py", "return decay * a + (1.0 - decay) * n if", "return n if", "optim gan"
    ),
    Mutation(
        "clipped_before_the_update",
        "optim.py",
        "jnp.clip(p + u, -limit, limit) - p",
        "jnp.clip(p, -limit, limit) + u - p",
        "optim",
    ),
    Mutation(
        "decay_by_the_wrong_count",
        "optim.py",
        "jnp.asarray(update) // updates_per_step",
        "jnp.asarray(update)",
        "optim",
    ),
    Mutation("eps_inside_the_root", "optim.py", "eps_in_sqrt=False", "eps_in_sqrt=True", "optim"),
    # The steps of the players.
    Mutation(
        "average_is_not_kept",
        "algorithms/gan.py",
        "update_ema(state, (g.params, g.model_state), ema_decay).replace(",
        "state.replace(",
        "gan",
    ),
    Mutation(
        "real_and_fake_swapped",
        "algorithms/gan.py",
        "loss.discriminator(real_scores, fake_scores)",
        "loss.discriminator(fake_scores, real_scores)",
        "gan",
    ),
    Mutation(
        "statistics_of_the_wrong_pass",
        "algorithms/gan.py",
        "score(augment.apply(augment_state, fake, keys[2]), model_state, keys[3])",
        "score(augment.apply(augment_state, fake, keys[2]), start, keys[3])",
        "gan",
    ),
    Mutation(
        "one_augmentation_for_real_and_fake",
        "algorithms/gan.py",
        "score(augment.apply(augment_state, fake, keys[2]), model_state, keys[3])",
        "score(augment.apply(augment_state, fake, keys[0]), model_state, keys[3])",
        "gan gan_penalties",
    ),
    Mutation(
        "generator_is_not_augmented",
        "algorithms/gan.py",
        "fake = augment.apply(augment_state, fake, keys[2])\n            return",
        "return",
        "gan gan_penalties",
    ),
    Mutation(
        "one_key_for_every_step",
        "algorithms/steps.py",
        "jax.random.fold_in(jax.random.fold_in(key, player), state.step)",
        "jax.random.fold_in(key, player)",
        "steps",
    ),
    Mutation(
        "spectral_norm_is_not_refreshed",
        "algorithms/gan.py",
        "discriminator.refresh(state.discriminator.params, state.discriminator.model_state)",
        "state.discriminator.model_state",
        "gan layers",
    ),
    Mutation(
        "gradient_of_a_constant_norm",
        "networks/layers.py",
        "_unit(jax.lax.stop_gradient(image)) @ image",
        "jax.lax.stop_gradient(_unit(image) @ image)",
        "layers",
    ),
    Mutation(
        "gradient_through_the_power_step",
        "networks/layers.py",
        "jax.lax.stop_gradient(kernel).reshape",
        "kernel.reshape",
        "layers",
    ),
    Mutation(
        "raw_weights_are_drawn_with", "algorithms/steps.py", "raw if state.ema_params is None", "raw if True", "gan"
    ),
    Mutation("generator_draws_other_latents", "algorithms/gan.py", "d.step - 1)", "d.step)", "gan"),
    Mutation(
        "text_is_its_own_mismatch",
        "algorithms/text_gan.py",
        "jnp.where(differ[rows], draws[1], -1.0)",
        "jnp.where(True, draws[1], -1.0)",
        "mismatched_pairs text_gan",
    ),
    Mutation(
        "equal_captions_mismatch",
        "algorithms/text_gan.py",
        'differ &= batch["meaning"]',
        'differ |= batch["meaning"]',
        "mismatched_pairs text_gan",
    ),
    Mutation(
        "text_average_one_update_late",
        "algorithms/text_gan.py",
        "raw_weights(state.replace(generator=g)), ema_decay",
        "raw_weights(state), ema_decay",
        "text_gan",
    ),
    Mutation(
        "pool_never_swaps",
        "algorithms/image_pool.py",
        "jax.random.bernoulli(swap_key, 0.5,",
        "jax.random.bernoulli(swap_key, 0.0,",
        "image_pool",
    ),
    Mutation(
        "pool_hands_out_what_it_stores",
        "algorithms/image_pool.py",
        "return stored, jnp.where(swap, earlier, image)",
        "return stored, image",
        "image_pool",
    ),
    Mutation(
        "identity_of_the_other_domain",
        "algorithms/cyclegan.py",
        "translate(into, images, key[4])",
        "translate(_FROM[domain], images, key[4])",
        "cyclegan",
    ),
    Mutation(
        "translation_critics_are_not_halved",
        "algorithms/steps.py",
        "return value / 2,",
        "return value,",
        "cyclegan pix2pix",
    ),
    Mutation(
        "pair_exchanged",
        "algorithms/pix2pix.py",
        "concatenate([batch[source], images]",
        "concatenate([images, batch[source]]",
        "pix2pix",
    ),
    Mutation("pix2pix_draws_dropout_twice", "algorithms/pix2pix.py", "d.step - 1)", "d.step)", "pix2pix"),
    Mutation("halves_exchanged", "data/pairs.py", '"AB".index(side)', '"BA".index(side)', "pairs"),
    Mutation(
        "cycle_of_the_wrong_image",
        "algorithms/cyclegan.py",
        "translate(into, fakes[_OTHER[domain]], key[3])",
        "translate(into, fakes[domain], key[3])",
        "cyclegan",
    ),
    # Data, augmentation and images.
    Mutation(
        "order_off_by_one",
        "data/order.py",
        "[row * batch_size : (row + 1) * batch_size]",
        "[row * batch_size + 1 : (row + 1) * batch_size + 1]",
        "order pipeline",
    ),
    Mutation(
        "one_order_for_every_epoch", "data/order.py", "RandomState([seed, epoch])", "RandomState([seed, 0])", "order"
    ),
    Mutation(
        "part_of_a_step_is_read_twice",
        "data/pipeline.py",
        "operator.index(step) * self.d_steps)",
        "operator.index(step))",
        "pipeline",
    ),
    Mutation(
        "labels_of_other_images",
        "data/pipeline.py",
        "jnp.take(field, indices,",
        'jnp.take(field, indices if name == "image" else indices[::-1],',
        "pipeline",
    ),
    Mutation(
        "crop_drawn_by_the_wrong_number",
        "data/pipeline.py",
        "_cropped(field, draws[:, :2], crop_size)",
        "_cropped(field, draws[:, 1:], crop_size)",
        "pipeline",
    ),
    Mutation(
        "crop_never_reaches_the_edge",
        "data/pipeline.py",
        "side - crop_size + 1 for",
        "side - crop_size for",
        "pipeline",
    ),
    Mutation(
        "all_or_nothing_mirrored",
        "data/pipeline.py",
        "draws[:, None, None, None] < 0.5",
        "draws[:1, None, None, None] < 0.5",
        "pipeline",
    ),
    Mutation("image_scale_off_by_one", "pixels.py", "* 2.0 - 255.0) / 255.0", "* 2.0 - 256.0) / 256.0", "pixels"),
    Mutation(
        "image_is_truncated",
        "pixels.py",
        "np.rint(np.clip((floats + 1.0) * 127.5, 0.0, 255.0))",
        "np.clip((floats + 1.0) * 127.5, 0.0, 255.0)",
        "pixels",
    ),
    Mutation(
        "one_translation_for_both_axes",
        "augment.py",
        "(corner[0], corner[1], 0)",
        "(corner[0], corner[0], 0)",
        "augment",
    ),
    Mutation(
        "augmentation_on_every_image",
        "augment.py",
        "images = jnp.where(coins, step(images, draw_key), images)",
        "images = step(images, draw_key)",
        "augment",
    ),
    Mutation("augmentation_adapts_backwards", "augment.py", "jnp.sign(r - target)", "jnp.sign(target - r)", "augment"),
    # Runs and checkpoints.
    Mutation(
        "checkpoint_loses_a_field",
        "checkpoints/checkpoint.py",
        "for path, leaf in leaves(state).items() if leaf.size}",
        'for path, leaf in leaves(state).items() if leaf.size and "ema" not in path}',
        "checkpoint_states",
    ),
    Mutation(
        "damaged_step_is_read",
        "checkpoints/digests.py",
        "if found.get(name) != digest\n",
        "if name not in found\n",
        "checkpoint_damage",
    ),
    Mutation(
        "best_is_the_worst",
        "checkpoints/retention.py",
        'value if self._best_mode == "max" else -value',
        'value if self._best_mode == "min" else -value',
        "checkpoint",
    ),
    Mutation(
        "metrics_over_the_wrong_steps",
        "training/step.py",
        "count=carry.count + good,",
        "count=carry.count + 1,",
        "step",
    ),
    Mutation(
        "means_are_never_begun_anew",
        "training/step.py",
        "self._carry = jax.tree.map(jnp.copy, self._zero)._replace(in_a_row=self._carry.in_a_row)",
        "pass",
        "step",
    ),
    Mutation(
        "resumed_run_begins_its_means_anew", "training/loop.py", "train_step.resume(run.unfinished)", "pass", "stopping"
    ),
    # Scores.
    Mutation("frechet_without_its_trace", "metrics/frechet.py", "- 2.0 * common", "", "frechet"),
    Mutation(
        "covariance_over_n",
        "metrics/frechet.py",
        "self.scatter / (self.count - 1)",
        "self.scatter / self.count",
        "frechet",
    ),
    Mutation("kernel_with_its_diagonal", "metrics/kernel.py", "(gram.sum() - np.trace(gram))", "gram.sum()", "kernel"),
    Mutation(
        "precision_and_recall_exchanged",
        "metrics/precision_recall.py",
        '{"precision": _share(precise, samples.counts), "recall": _share(recalled, real.counts)}',
        '{"recall": _share(precise, samples.counts), "precision": _share(recalled, real.counts)}',
        "precision_recall",
    ),
    Mutation(
        "neighbour_is_the_sample_itself",
        "metrics/precision_recall.py",
        "counts[found].cumsum(axis=1) - 1",
        "counts[found].cumsum(axis=1)",
        "precision_recall",
    ),
    Mutation(
        "padding_is_scored",
        "metrics/extract.py",
        "(jax.device_put(batch, sharding)))[:count]",
        "(jax.device_put(batch, sharding)))",
        "extract",
    ),
    Mutation("resized_without_antialiasing", "metrics/extract.py", "antialias=True", "antialias=False", "extract"),
    Mutation(
        "diversity_counts_each_with_itself",
        "metrics/neighbours.py",
        "(len(samples) * (len(samples) - 1))",
        "(len(samples) * len(samples))",
        "neighbours",
    ),
    Mutation(
        "score_without_its_exponential",
        "metrics/inception_score.py",
        "float(np.exp(_entropy(rows.mean(axis=0)) - _entropy(rows).mean()))",
        "float(_entropy(rows.mean(axis=0)) - _entropy(rows).mean())",
        "inception_score",
    ),
    Mutation(
        "divergence_turned_around",
        "metrics/modes.py",
        "np.sum(q * np.log(q / p))",
        "np.sum(p * np.log(p / q))",
        "modes",
    ),
)
