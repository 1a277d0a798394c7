"""Does a small network on top of refinement bring heights closer? A test with a rule.

The rule, written before any network was designed or trained:

- **Question.** `sarheight.terrain.refine` gives heights and their standard deviation. A network
  sees them, the back-projected heights, and what refinement says of each image, and predicts the
  error that is left. It helps if it cuts the RMSE of refinement itself: goals against the best
  baseline are met without it (`benchmarks.refinement`).
- **Training ground.** Crops of 192 x 192 cells of 30 m of the DEMs of the four places for
  development (Big Tujunga, Leh, Taebaek, North Korea), at least 1.5 km off their scored crops; no
  DEM of a scored place. Kinds of ground are drawn: one to six, each with a quadratic angular law of
  its own, whose range holds the four kinds of the scored ground, but not these themselves. Seen
  under 28 to 42 degrees. Coarse DEMs of 90 m with errors of 0 to 15 m of several correlation
  lengths, offsets, tilts, and shifts up to one cell of 30 m. Images are expected images
  (`benchmarks.synthetic.mean_images`) with the speckle and noise of 1 or 30 dates; scatterers are
  not drawn for each date.
- **Validation ground.** The middle 201 x 201 cells of the four places for development, as
  `benchmarks.refinement` scores them (seed 0, ray-traced scatterers, 33 degrees, four kinds of
  ground). Everything is chosen there: channels, width, number of steps, shrinkage, calibration.
- **Scored ground.** The seven scored places of `benchmarks.refinement`, with its images and its
  coarse DEMs, scored once, after all choices.
- **Rows.** One date of the ascending pass (``refine_1``), one date of both passes (``refine_1x2``),
  30 dates of both (``refine_30x2``), several laws; and one date of both passes with a coarse DEM
  without error and with 10 m (``error_0``, ``error_10``). Cells within 12 of the edge are left out.
- **Seeds.** Three seeds of training (0, 1, 2): initial weights, order, augmentation.
- **Simple baselines**, fitted on the same crops: a factor for the increments of refinement, and a
  ridge regression on the network's channels in 5 x 5 neighbourhoods, both for each number of images
  and dates alone.
- **No harm.** The correction of each method is multiplied by the factor that is best at the
  validation places, from 0 to 1; 0 if it gains nothing there.
- **Decision.** The network helps if, in each of the three rows, the median over places of its cut
  of refinement's RMSE, averaged over seeds, exceeds its range over seeds, is larger than that of
  both simple baselines, and if no place in any row is more than 2 % worse than refinement. At the
  validation places this decides whether it is worth shipping, at the scored ones whether it holds.
"""
